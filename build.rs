//! Reads Apache's headers into Rust, and asks apxs where Apache keeps its things: for the feature
//! `module` only.

#[cfg(not(feature = "module"))]
fn main() {}

#[cfg(feature = "module")]
fn main() {
    const HEADER: &str = "include/httpd_api.h";
    println!("cargo::rerun-if-changed={HEADER}");
    println!("cargo::rerun-if-env-changed=APXS");
    // Rust has no sound unloading; Apache would `dlclose` us between its two passes over the
    // configuration and at each restart.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");

    let debian = apxs("PROGNAME") == "apache2";
    let name = if debian { "apache2" } else { "httpd" };
    println!("cargo::rustc-env=MOD_SLOT_STATE_DIR=/var/lib/{name}/slots");
    println!("cargo::rustc-env=MOD_SLOT_RUNTIME_DIR=/var/run/{name}/slots");

    let out = std::path::Path::new(&std::env::var_os("OUT_DIR").unwrap()).join("httpd_api.rs");
    bindgen::Builder::default()
        .header(HEADER)
        .clang_arg(format!("-I{}", apxs("INCLUDEDIR")))
        .clang_arg(format!("-I{}", apxs("APR_INCLUDEDIR")))
        .clang_args(apxs("EXTRA_CPPFLAGS").split_whitespace())
        .allowlist_function("ap_hook_(pre_config|check_config|post_config|child_init)")
        .allowlist_function("ap_hook_(translate_name|map_to_storage|fixups)")
        .allowlist_function("ap_(get_module_config|log_r?error_|walk_config|getword_conf)")
        .allowlist_function("ap_(server_root_relative|runtime_dir_relative|set_document_root)")
        .allowlist_function("ap_(find_linked_module|state_query|mpm_query|cstr_casecmp)")
        .allowlist_function("apr_(pool_cleanup_(null|register|kill)|pool_(create_ex|destroy|tag)|palloc|pstrmemdup)")
        .allowlist_function("apr_table_(setn|addn|get|unset)")
        .allowlist_function("apr_(filepath_merge|array_make|array_push)")
        .allowlist_function("ap_retained_data_(get|create)|apr_time_now|ap_proxy_initialize_worker")
        .allowlist_function("proxy_(hook_(canon_handler|check_trans|pre_request|scheme_handler)|run_(canon_handler|check_trans))")
        .allowlist_function("ap_proxy_((get|define)_worker_ex|canonenc_ex)|ap_scan_vchar_obstext")
        .allowlist_function("ap_(register_output_filter|add_output_filter|pass_brigade)")
        .allowlist_function("ap_(regexec|merge_per_dir_configs)|apr_fnmatch")
        .allowlist_function("apr_dynamic_fn_retrieve")
        .allowlist_type(
            "module|command_rec|cmd_parms|request_rec|apr_bucket(_brigade)?|apr_array_header_t|ap_filter_type|server_rec|ap_directive_t|core_(server|dir)_config",
        )
        .allowlist_type("proxy_(server|dir)_conf|proxy_alias|proxy_balancer|proxy_worker(_shared)?|rewrite_mapfunc_t")
        .allowlist_var("OK|DECLINED|HTTP_.*|MODULE_MAGIC_.*|RSRC_CONF|ACCESS_CONF|OR_FILEINFO")
        .allowlist_var("APLOG_.*|APR_(SUCCESS|HOOK_.*|FILEPATH_.*)|AP_SQ_.*|AP_MPMQ_.*")
        .allowlist_var("GLOBAL_ONLY|NOT_IN_.*|PROXY_(WORKER|CANONENC)_.*|PROXYREQ_.*|AP_PROXY_WORKER_.*")
        .allowlist_var("ap_conftree|ap_top_module|ap_server_conf|core_module|ap_unixd_config|ap_pid_fname|ap_bucket_type_eor|apr_bucket_type_(file|mmap)|apr_hook_debug_current")
        .default_macro_constant_type(bindgen::MacroTypeVariation::Signed)
        .prepend_enum_name(false)
        .generate_comments(false)
        .use_core()
        .rust_edition(bindgen::RustEdition::Edition2024)
        .wrap_unsafe_ops(true)
        .generate()
        .expect("bindgen reads Apache's headers: install apache2-dev and libclang-dev")
        .write_to_file(out)
        .unwrap();
}

/// What Apache's own build tool says of this installation.
#[cfg(feature = "module")]
fn apxs(variable: &str) -> String {
    let apxs = std::env::var("APXS").unwrap_or_else(|_| "apxs".into());
    let out = std::process::Command::new(&apxs).args(["-q", variable]).output();
    let out = out.unwrap_or_else(|e| panic!("{apxs}: {e}; install apache2-dev or set APXS"));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}
