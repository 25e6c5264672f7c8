//! What the directives of one server say.

mod group;
mod unit;

pub(super) use group::{GroupLines, SlotLine};

use super::host::{Outcome, Place, Pool, Reading, Scope, has_module, runtime_path, server_path};
use crate::name::check_name;
use crate::state::Dirs;
use std::ffi::CStr;
use std::path::PathBuf;

/// The hooks of parked requests come with this.
pub(super) const PARK: &CStr = c"SlotHold park=on";

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
        self.groups.push(GroupLines::of(name));
        self.open = true;
        Ok(())
    }

    pub(super) fn close_group(&mut self) -> Outcome {
        self.open = false;
        let Some(group) = self.groups.last() else { return Ok(()) };
        group.check()
    }

    fn group(&mut self, directive: &str) -> Result<&mut GroupLines, String> {
        match self.groups.last_mut() {
            Some(group) if self.open => Ok(group),
            _ => Err(format!("{directive} is only allowed inside <SlotGroup>")),
        }
    }

    pub(super) fn add_slot(&mut self, _: Scope, words: &[&str]) -> Outcome {
        self.group("Slot")?.add_slot(words)
    }

    pub(super) fn set_default(&mut self, _: Scope, words: &[&str]) -> Outcome {
        self.group("SlotDefault")?.set_default(words)
    }

    pub(super) fn set_operator(&mut self, _: Scope, words: &[&str]) -> Outcome {
        self.group("SlotOperator")?.set_operator(words)
    }

    pub(super) fn set_health(&mut self, _: Scope, words: &[&str]) -> Outcome {
        self.group("SlotHealthCheck")?.set_health(words)
    }

    pub(super) fn set_warm_up(&mut self, _: Scope, words: &[&str]) -> Outcome {
        self.group("SlotWarmUp")?.set_warm_up(words)
    }

    pub(super) fn set_rollback(&mut self, _: Scope, words: &[&str]) -> Outcome {
        self.group("SlotAutoRollback")?.set_rollback(words)
    }

    pub(super) fn set_drain(&mut self, _: Scope, words: &[&str]) -> Outcome {
        self.group("SlotDrain")?.set_drain(words)
    }

    pub(super) fn set_maintenance(&mut self, reading: &Reading<'_>, words: &[&str]) -> Outcome {
        self.group("SlotMaintenance")?.set_maintenance(reading, words)
    }

    pub(super) fn set_hold(&mut self, reading: &Reading<'_>, words: &[&str]) -> Outcome {
        let group = self.group("SlotHold")?;
        group.set_hold(words)?;
        if group.hold.as_ref().is_some_and(|hold| hold.park) {
            reading.add_hooks(PARK);
        }
        Ok(())
    }

    pub(super) fn add_hook(&mut self, _: Scope, words: &[&str]) -> Outcome {
        self.group("SlotHook")?.add_hook(words)
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

fn directory(directive: &str, scope: Scope, words: &[&str]) -> Result<String, String> {
    match words {
        [path] if !path.is_empty() && scope == Scope::Global => Ok((*path).to_owned()),
        [path] if !path.is_empty() => {
            Err(format!("{directive} belongs in the main configuration, outside <VirtualHost>"))
        }
        _ => Err(format!("{directive} takes the path of a directory")),
    }
}
