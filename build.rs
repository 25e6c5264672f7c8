//! Translates Apache's headers into Rust, and asks apxs for Apache's directories. Only the feature `module` needs it.

#[cfg(not(feature = "module"))]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}

#[cfg(feature = "module")]
fn main() {
    module::main();
}

#[cfg(feature = "module")]
#[path = "include/layout.rs"]
mod layout;
#[cfg(feature = "module")]
#[path = "include/magic.rs"]
mod magic;

#[cfg(feature = "module")]
mod module {
    use super::{layout, magic};
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::{env, fs};

    const HEADER: &str = "include/httpd_api.h";
    const SHIMS: &str = "include/shims.h";

    /// The module magic minor numbers that added API which mod_slot uses if present; each sets a `cfg(mmn_N)`.
    const STEPS: [u32; 4] = [
        124, // 2.4.53: proxy_worker_shared.name_ex
        127, // 2.4.56: ap_proxy_canonenc_ex
        130, // 2.4.59: proxy_worker_shared.address_ttl
        137, // 2.4.63: CONN_STATE_ASYNC_WAITIO and AP_MPMQ_CAN_WAITIO
    ];

    pub(super) fn main() {
        for source in ["build.rs", "include/layout.rs", "include/magic.rs", HEADER, SHIMS] {
            println!("cargo::rerun-if-changed={source}");
        }
        println!("cargo::rerun-if-env-changed=APXS");
        // Unloading Rust code is unsound, but Apache calls `dlclose` between its two passes over the configuration and
        // at each restart; nodelete keeps the module in memory.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");

        let apxs = Apxs::find();
        let include = PathBuf::from(apxs.must("INCLUDEDIR"));
        gate(&include);
        let runtime = apxs.runtime_dir(&include);
        let layout = layout::of(&apxs.must("PROGNAME"), runtime.as_deref());
        println!("cargo::rustc-env=MOD_SLOT_STATE_DIR={}", layout.state);
        println!("cargo::rustc-env=MOD_SLOT_RUNTIME_DEFAULT={}", layout.configured);
        println!("cargo::rustc-env=MOD_SLOT_RUNTIME_DIR={}", layout.runtime);
        bind(&apxs, &include);
    }

    /// Sets the `cfg` of each step that the headers include.
    fn gate(include: &Path) {
        let header = include.join("ap_mmn.h");
        println!("cargo::rerun-if-changed={}", header.display());
        let text = fs::read_to_string(&header).unwrap_or_else(|e| {
            panic!("{}: {e}; install Apache's headers (apache2-dev, httpd-devel)", header.display())
        });
        let minor = magic::read(&header.display().to_string(), &text);
        let minor = minor.unwrap_or_else(|why| panic!("{why}"));
        for step in STEPS {
            println!("cargo::rustc-check-cfg=cfg(mmn_{step})");
            if minor >= step {
                println!("cargo::rustc-cfg=mmn_{step}");
            }
        }
    }

    fn bind(apxs: &Apxs, include: &Path) {
        let out = PathBuf::from(env::var_os("OUT_DIR").unwrap());
        let shims = out.join("shims.c");
        let flags = flags(apxs, include);
        bindgen::Builder::default()
            .header(HEADER)
            .wrap_static_fns(true)
            .wrap_static_fns_path(&shims)
            .allowlist_function("slot_.*")
            .raw_line("/// The minor number of the oldest Apache that mod_slot runs in, 2.4.52.")
            .raw_line(format!("pub(super) const LEAST_MAGIC_MINOR: i32 = {};", magic::LEAST.1))
            .clang_args(&flags)
            .allowlist_function("ap_hook_(pre_config|check_config|post_config|child_init|expr_lookup)")
            .allowlist_function("ap_internal_redirect|ap_get_conn_socket|apr_os_sock_(get|put)|apr_uri_unparse")
            .allowlist_function("ap_(hook_(process|pre_close)_connection|hook_get_process_connection|run_process_connection)")
            .allowlist_function("ap_(run_handler|die|process_request_after_handler|update_child_status)|apr_thread_mutex_(un)?lock")
            .allowlist_type("ap_LINK_process_connection_t")
            .allowlist_function("ap_hook_(translate_name|map_to_storage|fixups|handler|log_transaction)|ap_remove_output_filter|apr_optional_hook_add")
            .allowlist_function("ap_(get_module_config|log_r?error_|walk_config|getword_conf)")
            .allowlist_function("ap_(server_root_relative|runtime_dir_relative|set_document_root|get_server_revision)")
            .allowlist_function("ap_(find_linked_module|state_query|mpm_query|cstr_casecmp)")
            .allowlist_function("apr_(pool_cleanup_(null|register|kill)|pool_(create_ex|destroy|tag)|palloc|pstrmemdup)")
            .allowlist_function("apr_table_(setn|addn|get|unset)")
            .allowlist_function("apr_(filepath_merge|array_make|array_push)")
            .allowlist_function("ap_retained_data_(get|create)|apr_time_now|ap_proxy_initialize_worker")
            .allowlist_function("proxy_(hook_(canon_handler|check_trans|pre_request|scheme_handler)|run_(canon_handler|check_trans)|hook_request_status)")
            .allowlist_function("ap_proxy_((get|define)_worker_ex|canonenc(_ex)?)|ap_scan_vchar_obstext")
            .allowlist_function("ap_(register_output_filter|add_output_filter|pass_brigade)")
            .allowlist_function("ap_(expr_parse_cmd_mi|expr_exec|custom_response|set_content_type|hook_insert_error_filter)")
            .allowlist_function("ap_(regexec|merge_per_dir_configs)|apr_fnmatch")
            .allowlist_function("apr_dynamic_fn_re(gister|trieve)")
            .allowlist_type(
                "module|command_rec|cmd_parms|request_rec|apr_bucket(_brigade)?|apr_array_header_t|ap_filter_type|server_rec|ap_directive_t|core_(server|dir)_config",
            )
            .allowlist_type("proxy_(server|dir)_conf|proxy_alias|proxy_balancer|proxy_worker(_shared)?|rewrite_mapfunc_t")
            .allowlist_type("ap_expr_eval_ctx_t")
            .allowlist_var("AP_EXPR_FLAG_DONT_VARY|AP_EXPR_FUNC_(VAR|STRING)|M_GET|OK|DONE|DECLINED|SUSPENDED|SERVER_BUSY_WRITE|APR_URI_UNP_OMITSITEPART|HTTP_.*|MODULE_MAGIC_.*|RSRC_CONF|ACCESS_CONF|OR_FILEINFO")
            .allowlist_var("APLOG_.*|APR_(SUCCESS|HOOK_.*|FILEPATH_.*)|AP_SQ_.*|AP_MPMQ_.*")
            .allowlist_var("GLOBAL_ONLY|NOT_IN_.*|PROXY_(WORKER|CANONENC)_.*|PROXYREQ_.*|AP_PROXY_WORKER_IS_.*")
            .allowlist_var("ap_conftree|ap_top_module|ap_server_conf|core_module|ap_unixd_config|ap_pid_fname|apr_hook_debug_current")
            .default_macro_constant_type(bindgen::MacroTypeVariation::Signed)
            .prepend_enum_name(false)
            .generate_comments(false)
            .use_core()
            .rust_edition(bindgen::RustEdition::Edition2024)
            .wrap_unsafe_ops(true)
            .generate()
            .expect("bindgen failed: install apache2-dev and libclang-dev")
            .write_to_file(out.join("httpd_api.rs"))
            .unwrap();
        // The wrappers of the shims, which include the header by its path in this directory.
        let mut build = cc::Build::new();
        for flag in &flags {
            build.flag(flag);
        }
        build.file(shims).include(".").compile("slot_shims");
        // For the C modules of the tests.
        println!("cargo::rustc-env=MOD_SLOT_TARGET={}", env::var("TARGET").unwrap());
    }

    /// The preprocessor's flags for Apache's headers.
    fn flags(apxs: &Apxs, include: &Path) -> Vec<String> {
        let more = apxs.ask("EXTRA_CPPFLAGS").unwrap_or_default();
        let dirs = [include.display().to_string(), apxs.must("APR_INCLUDEDIR")];
        let dirs = dirs.into_iter().map(|dir| format!("-I{dir}"));
        dirs.chain(more.split_whitespace().map(str::to_owned)).collect()
    }

    /// apxs, Apache's build tool, which knows the directories of its Apache.
    struct Apxs(String);

    impl Apxs {
        fn find() -> Self {
            let named = env::var("APXS").ok().filter(|apxs| !apxs.is_empty());
            Self(named.unwrap_or_else(|| {
                let runs = |name: &&str| Command::new(name).arg("-q").output().is_ok();
                ["apxs", "apxs2"].into_iter().find(runs).unwrap_or("apxs").to_owned()
            }))
        }

        /// The value of a variable; `None` if apxs does not know it or it is empty.
        fn ask(&self, variable: &str) -> Option<String> {
            let out = Command::new(&self.0).args(["-q", variable]).output();
            let out = out.unwrap_or_else(|e| {
                panic!(
                    "{}: {e}; install apache2-dev or httpd-devel, or set APXS to its path",
                    self.0
                )
            });
            let said = String::from_utf8(out.stdout).unwrap().trim().to_owned();
            Some(said).filter(|said| out.status.success() && !said.is_empty())
        }

        fn must(&self, variable: &str) -> String {
            self.ask(variable).unwrap_or_else(|| {
                panic!(
                    "{} -q {variable} prints nothing, so it is not the apxs of an installed Apache; \
                     set APXS to the right one",
                    self.0
                )
            })
        }

        /// Apache's default for DefaultRuntimeDir, from apxs, or from the headers if apxs does not know it.
        fn runtime_dir(&self, include: &Path) -> Option<String> {
            let asked = self.ask("RUNTIMEDIR").or_else(|| self.ask("runtimedir"));
            asked.filter(|dir| dir.starts_with('/')).or_else(|| {
                let layout = fs::read_to_string(include.join("ap_config_layout.h")).ok()?;
                let line = layout.lines().find(|line| line.contains("DEFAULT_EXP_RUNTIMEDIR"))?;
                line.split('"').nth(1).map(str::to_owned)
            })
        }
    }
}
