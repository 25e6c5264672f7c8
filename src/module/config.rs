//! What the directives of one server say.

mod deploy;
mod unit;

use super::host::{
    Outcome, Place, Pool, Scope, has_module, merged_path, runtime_path, server_path,
};
use crate::address::Address;
use crate::name::check_name;
use crate::state::Dirs;
use crate::word::MAX_SLOTS;
use deploy::Deploy;
use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};

/// mod_slot, as the host runs it.
#[derive(Debug)]
pub(super) struct SlotModule;

/// What the directives of a server say: of the main one, or of a virtual host.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    /// The server of these directives; another server may share them.
    pub(super) server: usize,
    /// All groups. In the main server only.
    pub(super) groups: Vec<GroupLines>,
    /// Apache reads the last group now.
    open: bool,
    /// `SlotStateDir`.
    state_dir: Option<String>,
    /// `SlotRuntimeDir`.
    runtime_dir: Option<String>,
    /// `SlotDocumentRoot`: the name of a group.
    pub(super) document_root: Option<String>,
    /// The sections with a ProxyPassReverse to a `slot://` URL.
    pub(super) reverse: Vec<Place>,
}

/// A `<SlotGroup>`.
#[derive(Clone, Debug)]
pub(super) struct GroupLines {
    pub(super) name: String,
    pub(super) slots: Vec<SlotLine>,
    /// `SlotDefault`, or else the first slot.
    pub(super) default: Option<String>,
    /// `SlotOperator`: the group's name and number.
    pub(super) operator: Option<(String, u32)>,
    /// What it says of deploys.
    pub(super) deploy: Deploy,
}

/// A `Slot`.
#[derive(Clone, Debug)]
pub(super) struct SlotLine {
    pub(super) name: String,
    /// `None` for `-`, a slot without a backend.
    pub(super) address: Option<Address>,
    pub(super) docroot: Option<String>,
    /// The systemd service of the backend.
    pub(super) unit: Option<String>,
}

impl SlotLine {
    /// What mod_proxy calls the worker of the slot.
    pub(super) fn worker_url(&self) -> Option<CString> {
        let address = self.address.as_ref().filter(|address| !address.is_balancer())?;
        CString::new(address.worker_url()).ok()
    }
}

impl Lines {
    pub(super) fn of(server: usize) -> Self {
        Self { server, ..Self::default() }
    }

    /// The directories of the files, as they are configured.
    pub(super) fn dirs(&self, pool: Pool) -> Dirs {
        let state = self.state_dir.as_deref().unwrap_or(env!("MOD_SLOT_STATE_DIR"));
        let runtime = self.runtime_dir.as_deref().unwrap_or(env!("MOD_SLOT_RUNTIME_DEFAULT"));
        Dirs {
            state: server_path(pool, state).unwrap_or_else(|| PathBuf::from(state)),
            runtime: runtime_path(pool, runtime).unwrap_or_else(|| PathBuf::from(runtime)),
        }
    }

    pub(super) fn open_group(&mut self, scope: Scope, words: &[&str]) -> Outcome {
        let [name] = words else {
            return Err("<SlotGroup> takes one name, as in <SlotGroup app>".into());
        };
        if scope != Scope::Global {
            return Err("<SlotGroup> belongs in the main configuration, outside <VirtualHost>: \
                        all virtual hosts can use its slots"
                .into());
        }
        if self.open {
            return Err(format!(
                "<SlotGroup {name}> is inside another <SlotGroup>: close that one first"
            ));
        }
        check_name(name).map_err(|why| format!("<SlotGroup {name}>: {why}"))?;
        if let Some(known) = self.groups.iter().find(|group| group.name.eq_ignore_ascii_case(name))
        {
            return Err(format!(
                "<SlotGroup {name}>: there already is a group {:?}; use another name",
                known.name
            ));
        }
        self.groups.push(GroupLines {
            name: (*name).to_owned(),
            slots: Vec::new(),
            default: None,
            operator: None,
            deploy: Deploy::default(),
        });
        self.open = true;
        Ok(())
    }

    pub(super) fn close_group(&mut self) -> Outcome {
        self.open = false;
        let Some(group) = self.groups.last() else { return Ok(()) };
        let name = &group.name;
        if group.slots.is_empty() {
            return Err(format!("<SlotGroup {name}> has no Slot: add at least one, better two"));
        }
        group.check_starter()
    }

    fn group(&mut self, directive: &str) -> Result<&mut GroupLines, String> {
        match self.groups.last_mut() {
            Some(group) if self.open => Ok(group),
            _ => Err(format!("{directive} is only allowed inside <SlotGroup>")),
        }
    }

    pub(super) fn add_slot(&mut self, _: Scope, words: &[&str]) -> Outcome {
        let group = self.group("Slot")?;
        let [name, address, parameters @ ..] = words else {
            return Err(
                "Slot takes a name, the backend's URL or -, docroot=path and unit=service".into()
            );
        };
        check_name(name).map_err(|why| format!("Slot {name}: {why}"))?;
        let mut slot = SlotLine { name: (*name).into(), address: None, docroot: None, unit: None };
        if *address != "-" {
            slot.address = Some(reachable(Address::parse(address)?)?);
        }
        for parameter in parameters {
            match parameter.split_once('=') {
                Some(("docroot", _)) if slot.docroot.is_some() => {
                    return Err(format!("Slot {name}: it has two docroots; remove one"));
                }
                Some(("docroot", path)) => slot.docroot = Some(absolute(path)?),
                Some(("unit", _)) if slot.unit.is_some() => {
                    return Err(format!("Slot {name}: it has two units; remove one"));
                }
                Some(("unit", unit)) => {
                    let why = |why| format!("Slot {name}: {parameter}: {why}");
                    slot.unit = Some(unit::parse(unit).map_err(why)?);
                }
                _ => {
                    return Err(format!(
                        "Slot {name}: {parameter:?} is unknown; Slot takes docroot=path and unit=service"
                    ));
                }
            }
        }
        if slot.address.is_none()
            && let Some(unit) = &slot.unit
        {
            return Err(format!(
                "Slot {name}: unit={unit} is the service of a backend, and the slot has none (-); remove it"
            ));
        }
        if slot.address.is_none() && slot.docroot.is_none() {
            return Err(format!("Slot {name}: without a backend (-), it needs docroot=path"));
        }
        group.admit(&slot)?;
        group.slots.push(slot);
        Ok(())
    }

    pub(super) fn set_default(&mut self, _: Scope, words: &[&str]) -> Outcome {
        let group = self.group("SlotDefault")?;
        let [name] = words else { return Err("SlotDefault takes the name of a slot".into()) };
        once("SlotDefault", &group.name, &group.default)?;
        group.default = Some((*name).to_owned());
        Ok(())
    }

    pub(super) fn set_operator(&mut self, _: Scope, words: &[&str]) -> Outcome {
        let group = self.group("SlotOperator")?;
        let name = match words {
            [word] => word.strip_prefix("group=").filter(|name| !name.is_empty()),
            _ => None,
        };
        let name =
            name.ok_or("SlotOperator takes group=name, the name of a group of this system")?;
        once("SlotOperator", &group.name, &group.operator)?;
        match nix::unistd::Group::from_name(name) {
            Ok(Some(found)) => group.operator = Some((name.into(), found.gid.as_raw())),
            Ok(None) => {
                return Err(format!(
                    "SlotOperator group={name}: this system has no such group; groupadd {name}"
                ));
            }
            Err(e) => return Err(format!("SlotOperator group={name}: {e}")),
        }
        Ok(())
    }

    pub(super) fn set_state_dir(&mut self, scope: Scope, words: &[&str]) -> Outcome {
        self.state_dir = Some(directory("SlotStateDir", scope, words)?);
        Ok(())
    }

    pub(super) fn set_runtime_dir(&mut self, scope: Scope, words: &[&str]) -> Outcome {
        self.runtime_dir = Some(directory("SlotRuntimeDir", scope, words)?);
        Ok(())
    }

    pub(super) fn set_document_root(&mut self, _: Scope, words: &[&str]) -> Outcome {
        let [name] = words else { return Err("SlotDocumentRoot takes the name of a group".into()) };
        self.document_root = Some((*name).to_owned());
        Ok(())
    }

    /// Notes the section of a ProxyPassReverse, or of one for cookies. The directive itself is mod_proxy's.
    pub(super) fn see_reverse(
        &mut self,
        directive: &str,
        place: Place,
        arguments: &str,
    ) -> Outcome {
        require_module(directive, c"mod_proxy.c")?;
        if arguments.to_ascii_lowercase().contains("slot://") && !self.reverse.contains(&place) {
            self.reverse.push(place);
        }
        Ok(())
    }
}

/// Refuses a directive of a module that is not loaded, as Apache does: mod_slot knows the directive, but cannot
/// replace the module.
pub(super) fn require_module(directive: &str, module: &CStr) -> Outcome {
    if has_module(module) {
        return Ok(());
    }
    Err(format!(
        "Invalid command '{directive}', perhaps misspelled or defined by a module not included in the server \
         configuration"
    ))
}

impl GroupLines {
    /// Checks that a slot can join the group.
    fn admit(&self, slot: &SlotLine) -> Outcome {
        let name = &slot.name;
        if self.slots.len() == MAX_SLOTS {
            return Err(format!("Slot {name}: a group has at most {MAX_SLOTS} slots"));
        }
        if let Some(known) = self.slots.iter().find(|known| known.name.eq_ignore_ascii_case(name)) {
            return Err(format!(
                "Slot {name}: <SlotGroup {}> already has a slot {:?}; use another name",
                self.name, known.name
            ));
        }
        if let Some(unit) = &slot.unit
            && let Some(known) = self.slots.iter().find(|known| known.unit == slot.unit)
        {
            return Err(format!(
                "Slot {name}: {unit} is already the unit of slot {:?}, and a deploy would stop the backend that \
                 takes the requests; give each slot a unit of its own",
                known.name
            ));
        }
        let Some(address) = &slot.address else { return Ok(()) };
        let same = |known: &&SlotLine| {
            known.docroot == slot.docroot
                && known.address.as_ref().is_some_and(|a| a.is_same(address))
        };
        if let Some(known) = self.slots.iter().find(same) {
            return Err(format!(
                "Slot {name}: {address} is already the address of slot {:?}, and the docroot is the same; a \
                 flip between them would change nothing",
                known.name
            ));
        }
        Ok(())
    }

    /// The slot that is active until the first flip.
    pub(super) fn default(&self) -> usize {
        let named = self.default.as_ref();
        named.and_then(|name| self.slots.iter().position(|slot| slot.name == *name)).unwrap_or(0)
    }
}

fn once<T>(directive: &str, group: &str, known: &Option<T>) -> Outcome {
    match known {
        Some(_) => Err(format!(
            "{directive} is already set in <SlotGroup {group}>; remove one of the lines"
        )),
        None => Ok(()),
    }
}

fn reachable(address: Address) -> Result<Address, String> {
    match address.modules().into_iter().find(|module| !has_module(module)) {
        None => Ok(address),
        Some(module) => {
            let module = module.to_string_lossy();
            let module = module.trim_end_matches(".c");
            let name = module.trim_start_matches("mod_");
            Err(format!(
                "{address} needs {module}, which is not loaded: LoadModule {name}_module \
                 modules/{module}.so (on Debian: a2enmod {name})"
            ))
        }
    }
}

fn absolute(path: &str) -> Result<String, String> {
    if !Path::new(path).is_absolute() {
        return Err(format!("docroot={path}: the path is not absolute"));
    }
    merged_path(path).ok_or_else(|| format!("docroot={path}: Apache does not accept this path"))
}

fn directory(directive: &str, scope: Scope, words: &[&str]) -> Result<String, String> {
    match words {
        [path] if !path.is_empty() && scope == Scope::Global => Ok((*path).to_owned()),
        [path] if !path.is_empty() => {
            Err(format!("{directive} belongs in the main configuration, outside <VirtualHost>"))
        }
        _ => Err(format!("{directive} takes the path of a directory")),
    }
}
