//! A `<SlotGroup>` and its lines.

use super::unit;
use crate::address::Address;
use crate::group::health::Health;
use crate::group::hold::Hold;
use crate::group::hook::{Event, Hook};
use crate::group::maintenance as configured;
use crate::group::warm::WarmUp;
use crate::group::watch::{AutoRollback, DrainLimits};
use crate::module::host::{Outcome, Reading, has_module, merged_path};
use crate::module::maintenance::Maintenance;
use crate::name::check_name;
use crate::word::MAX_SLOTS;
use std::ffi::CString;
use std::path::Path;

/// The most `SlotHook` lines of a group.
const MAX_HOOKS: usize = 64;

/// A `<SlotGroup>`.
#[derive(Clone, Debug, Default)]
pub(in crate::module) struct GroupLines {
    pub(in crate::module) name: String,
    pub(in crate::module) slots: Vec<SlotLine>,
    /// `SlotDefault`, or else the first slot.
    pub(in crate::module) default: Option<String>,
    /// `SlotOperator`: the group's name and number.
    pub(in crate::module) operator: Option<(String, u32)>,
    pub(in crate::module) health: Option<Health>,
    pub(in crate::module) warm: Option<WarmUp>,
    pub(in crate::module) rollback: Option<AutoRollback>,
    pub(in crate::module) drain: Option<DrainLimits>,
    pub(in crate::module) maintenance: Option<Maintenance>,
    pub(in crate::module) hold: Option<Hold>,
    pub(in crate::module) hooks: Vec<Hook>,
    /// The directives that may be there once, and are there.
    seen: Vec<&'static str>,
}

/// A `Slot`.
#[derive(Clone, Debug)]
pub(in crate::module) struct SlotLine {
    pub(in crate::module) name: String,
    /// `None` for `-`, a slot without a backend.
    pub(in crate::module) address: Option<Address>,
    pub(in crate::module) docroot: Option<String>,
    /// The systemd service of the backend.
    pub(in crate::module) unit: Option<String>,
}

impl SlotLine {
    /// What mod_proxy calls the worker of the slot.
    pub(in crate::module) fn worker_url(&self) -> Option<CString> {
        let address = self.address.as_ref().filter(|address| !address.is_balancer())?;
        CString::new(address.worker_url()).ok()
    }
}

impl GroupLines {
    pub(super) fn of(name: &str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    pub(super) fn add_slot(&mut self, words: &[&str]) -> Outcome {
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
        self.admit(&slot)?;
        self.slots.push(slot);
        Ok(())
    }

    pub(super) fn set_default(&mut self, words: &[&str]) -> Outcome {
        let [name] = words else { return Err("SlotDefault takes the name of a slot".into()) };
        once("SlotDefault", &self.name, &self.default)?;
        self.default = Some((*name).to_owned());
        Ok(())
    }

    pub(super) fn set_operator(&mut self, words: &[&str]) -> Outcome {
        let name = match words {
            [word] => word.strip_prefix("group=").filter(|name| !name.is_empty()),
            _ => None,
        };
        let name =
            name.ok_or("SlotOperator takes group=name, the name of a group of this system")?;
        once("SlotOperator", &self.name, &self.operator)?;
        match nix::unistd::Group::from_name(name) {
            Ok(Some(found)) => self.operator = Some((name.into(), found.gid.as_raw())),
            Ok(None) => {
                return Err(format!(
                    "SlotOperator group={name}: this system has no such group; groupadd {name}"
                ));
            }
            Err(e) => return Err(format!("SlotOperator group={name}: {e}")),
        }
        Ok(())
    }

    pub(super) fn set_health(&mut self, words: &[&str]) -> Outcome {
        self.health = self.read("SlotHealthCheck", words, Health::set)?;
        Ok(())
    }

    pub(super) fn set_warm_up(&mut self, words: &[&str]) -> Outcome {
        self.warm = self.read("SlotWarmUp", words, WarmUp::set)?;
        Ok(())
    }

    pub(super) fn set_rollback(&mut self, words: &[&str]) -> Outcome {
        self.rollback = self.read("SlotAutoRollback", words, AutoRollback::set)?;
        Ok(())
    }

    pub(super) fn set_drain(&mut self, words: &[&str]) -> Outcome {
        self.drain = self.read("SlotDrain", words, DrainLimits::set)?;
        Ok(())
    }

    pub(super) fn set_maintenance(&mut self, reading: &Reading<'_>, words: &[&str]) -> Outcome {
        let said = self.read("SlotMaintenance", words, configured::Maintenance::set)?;
        self.maintenance = said.map(|said| Maintenance::of(reading, &said)).transpose()?;
        Ok(())
    }

    pub(super) fn set_hold(&mut self, words: &[&str]) -> Outcome {
        if words.iter().any(|word| word.eq_ignore_ascii_case("off")) {
            return Err(
                "SlotHold: every group can be held, so there is no off; leave the line out for the defaults".into(),
            );
        }
        self.hold = self.read("SlotHold", words, Hold::set)?;
        Ok(())
    }

    pub(super) fn add_hook(&mut self, words: &[&str]) -> Outcome {
        if self.hooks.len() == MAX_HOOKS {
            return Err(format!(
                "SlotHook: <SlotGroup {}> already has {MAX_HOOKS} of them, which is the most; let one program run \
                 others",
                self.name
            ));
        }
        self.hooks.push(Hook::parse(words)?);
        Ok(())
    }

    /// Reads the words of a directive that may be there once. `None` if they say `off`.
    fn read<T: Default>(
        &mut self,
        directive: &'static str,
        words: &[&str],
        set: impl FnOnce(&mut T, &str, &[&str]) -> Outcome,
    ) -> Result<Option<T>, String> {
        let known = self.seen.contains(&directive).then_some(());
        once(directive, &self.name, &known)?;
        self.seen.push(directive);
        let is_off = |word: &&str| word.eq_ignore_ascii_case("off");
        match words {
            [word] if is_off(word) => Ok(None),
            _ if words.iter().any(is_off) => {
                Err(format!("{directive}: off is its only word; remove it, or the other words"))
            }
            _ => {
                let mut made = T::default();
                set(&mut made, directive, words)?;
                Ok(Some(made))
            }
        }
    }

    /// Checks the group as a whole.
    pub(super) fn check(&self) -> Outcome {
        if self.slots.is_empty() {
            return Err(format!(
                "<SlotGroup {}> has no Slot: add at least one, better two",
                self.name
            ));
        }
        self.check_starter()
    }

    /// Checks that only one thing starts and stops the backends: systemd, or the group's own programs.
    fn check_starter(&self) -> Outcome {
        let mut hooks = self.hooks.iter().map(|hook| hook.event);
        let hook = hooks.find(|event| matches!(event, Event::Start | Event::Stop));
        let slot = self.slots.iter().find_map(|slot| Some((slot, slot.unit.as_ref()?)));
        let (Some(hook), Some((slot, unit))) = (hook, slot) else { return Ok(()) };
        Err(format!(
            "<SlotGroup {}>: SlotHook {hook} and unit={unit} of slot {:?} both say how backends are started and \
             stopped; remove the SlotHook lines start and stop, or unit= from each Slot",
            self.name, slot.name
        ))
    }

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
                "Slot {name}: {unit} is already the unit of slot {:?}, and a deploy would stop the active backend; \
                 give each slot a unit of its own",
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
    pub(in crate::module) fn first(&self) -> usize {
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
