//! A disk whose power is cut: computes, from a list of operations, the states that it may be in. Pure.
//!
//! The disk does the worst that POSIX allows. Until a sync of the file, each sector written to it, and its
//! size, may or may not be on the disk, independently and in any
//! order; appended data may end at any byte, with the rest zeros or missing. A store into a
//! mapped file is whole or missing, at any time from the mapping on. Until a sync of the
//! directory, each created, renamed or removed name may or may not be on the disk; a rename is
//! one step. A sync of a file does not cover its name.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashSet};
use std::hash::{Hash, Hasher};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

const SECTOR: usize = 512;
/// Up to this number of pending atoms, all subsets are tried.
const EXHAUSTIVE: usize = 9;
const RANDOM: usize = 200;

/// A file, independent of its name.
pub(crate) type FileId = usize;

/// An operation.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// A new file, empty; `None` for a directory.
    Make {
        path: PathBuf,
        file: Option<FileId>,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Unlink {
        path: PathBuf,
    },
    Write {
        file: FileId,
        at: usize,
        bytes: Vec<u8>,
    },
    /// A store into a mapping, never torn.
    Store {
        file: FileId,
        at: usize,
        bytes: Vec<u8>,
    },
    Resize {
        file: FileId,
        len: usize,
    },
    Sync {
        file: FileId,
    },
    SyncDirectory {
        path: PathBuf,
    },
    /// The caller was told that everything so far is done.
    Acknowledge,
}

/// The state when the power is back: names and contents; `None` for directories.
pub(crate) type State = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// The smallest change that is on the disk or not.
#[derive(Clone, Debug)]
enum Atom {
    Data { file: FileId, at: usize, bytes: Vec<u8>, appended: bool },
    Grow { file: FileId, len: usize },
    Cut { file: FileId, len: usize },
    Name { path: PathBuf, file: Option<FileId> },
    Move { from: PathBuf, to: PathBuf, file: Option<FileId> },
    NoName { path: PathBuf },
}

impl Atom {
    fn is_of(&self, synced: FileId) -> bool {
        matches!(self, Self::Data { file, .. } | Self::Grow { file, .. } | Self::Cut { file, .. }
            if *file == synced)
    }

    fn is_in(&self, synced: &Path) -> bool {
        match self {
            Self::Name { path, .. } | Self::NoName { path } => path.parent() == Some(synced),
            Self::Move { to, .. } => to.parent() == Some(synced),
            _ => false,
        }
    }
}

/// The state in the machine's memory so far.
#[derive(Default)]
struct Memory {
    atoms: Vec<Atom>,
    /// Whether the atom at this index is certainly on the disk.
    durable: Vec<bool>,
    names: BTreeMap<PathBuf, Option<FileId>>,
    sizes: BTreeMap<FileId, usize>,
}

/// Calls `visit` for each state in which the disk may be when its power is cut at any time,
/// with the number of acknowledgements until then; once for each such pair, until `visit` breaks.
pub(crate) fn power_cuts(
    ops: &[Op],
    mut visit: impl FnMut(usize, &State) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut memory = Memory::default();
    let (mut acknowledged, mut seen) = (0, HashSet::new());
    for op in [None].into_iter().chain(ops.iter().map(Some)) {
        match op {
            Some(Op::Acknowledge) => acknowledged += 1,
            Some(op) => memory.run(op),
            None => {}
        }
        // A sync removes possible states and adds none.
        if matches!(op, Some(Op::Sync { .. } | Op::SyncDirectory { .. })) {
            continue;
        }
        memory.cuts(|state| {
            if seen.insert((acknowledged, fingerprint(state))) {
                visit(acknowledged, state)?;
            }
            ControlFlow::Continue(())
        })?;
    }
    ControlFlow::Continue(())
}

fn fingerprint(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (path, content) in state {
        let bytes = content.as_deref().unwrap_or_default();
        // A longer write is one append: its ends are enough.
        let edge = bytes.len().min(64 * SECTOR);
        let ends = (&bytes[..edge], &bytes[bytes.len() - edge..]);
        (path, content.is_some(), bytes.len(), ends).hash(&mut hasher);
    }
    hasher.finish()
}

impl Memory {
    fn run(&mut self, op: &Op) {
        match op.clone() {
            Op::Make { path, file } => {
                self.names.insert(path.clone(), file);
                self.add(Atom::Name { path, file });
            }
            Op::Rename { from, to } => {
                let file = self.names.remove(&from).expect("it is there");
                self.names.insert(to.clone(), file);
                self.add(Atom::Move { from, to, file });
            }
            Op::Unlink { path } => {
                self.names.remove(&path);
                self.add(Atom::NoName { path });
            }
            Op::Write { file, at, bytes } => {
                let size = self.sizes.entry(file).or_default();
                let (old, new) = (*size, (at + bytes.len()).max(*size));
                *size = new;
                // The sectors of the disk, not those of the call.
                let mut begin = at;
                while begin < at + bytes.len() {
                    let end = ((begin / SECTOR + 1) * SECTOR).min(at + bytes.len());
                    let bytes = bytes[begin - at..end - at].to_vec();
                    self.add(Atom::Data { file, at: begin, bytes, appended: begin >= old });
                    begin = end;
                }
                if new > old {
                    self.add(Atom::Grow { file, len: new });
                }
            }
            Op::Store { file, at, bytes } => {
                self.add(Atom::Data { file, at, bytes, appended: false });
            }
            Op::Resize { file, len } => {
                let old = self.sizes.insert(file, len).unwrap_or(0);
                let atom =
                    if len < old { Atom::Cut { file, len } } else { Atom::Grow { file, len } };
                self.add(atom);
            }
            Op::Sync { file } => self.settle(|atom| atom.is_of(file)),
            Op::SyncDirectory { path } => self.settle(|atom| atom.is_in(&path)),
            Op::Acknowledge => {}
        }
    }

    fn add(&mut self, atom: Atom) {
        self.atoms.push(atom);
        self.durable.push(false);
    }

    fn settle(&mut self, synced: impl Fn(&Atom) -> bool) {
        for (atom, durable) in self.atoms.iter().zip(&mut self.durable) {
            *durable |= synced(atom);
        }
    }

    /// Each choice of the pending atoms, or, of many, those that have caught the most wrong writers;
    /// and each end of the appended data, with all other atoms and with none.
    fn cuts(&self, mut visit: impl FnMut(&State) -> ControlFlow<()>) -> ControlFlow<()> {
        let pending: Vec<_> = (0..self.atoms.len()).filter(|at| !self.durable[*at]).collect();
        for choice in choices(pending.len()) {
            let chosen = |at| pending.binary_search(&at).is_ok_and(|n| choice[n]);
            visit(&self.disk(chosen, None))?;
        }
        for &at in &pending {
            let Atom::Data { bytes, appended: true, .. } = &self.atoms[at] else { continue };
            let step = if bytes.len() < SECTOR { 1 } else { 61 };
            for len in (0..bytes.len()).step_by(step) {
                visit(&self.disk(|_| true, Some((at, len))))?;
                visit(&self.disk(|other| other == at, Some((at, len))))?;
            }
        }
        ControlFlow::Continue(())
    }

    /// The disk with the durable and the `chosen` atoms; of one atom, only this number of bytes.
    fn disk(&self, chosen: impl Fn(usize) -> bool, torn: Option<(usize, usize)>) -> State {
        let mut files: BTreeMap<FileId, (Vec<u8>, usize)> = BTreeMap::new();
        let mut names: BTreeMap<&Path, Option<FileId>> = BTreeMap::new();
        for (n, atom) in self.atoms.iter().enumerate() {
            if !self.durable[n] && !chosen(n) {
                continue;
            }
            match atom {
                Atom::Data { file, at, bytes, .. } => {
                    let kept = torn.filter(|(torn, _)| *torn == n).map_or(bytes.len(), |(_, l)| l);
                    let (data, _) = files.entry(*file).or_default();
                    stretch(data, at + kept);
                    data[*at..at + kept].copy_from_slice(&bytes[..kept]);
                }
                Atom::Grow { file, len } => {
                    let (_, size) = files.entry(*file).or_default();
                    *size = (*size).max(*len);
                }
                Atom::Cut { file, len } => {
                    let (data, size) = files.entry(*file).or_default();
                    data.truncate(*len);
                    *size = *len;
                }
                Atom::Name { path, file } => drop(names.insert(path, *file)),
                Atom::Move { from, to, file } => {
                    names.remove(&**from);
                    names.insert(to, *file);
                }
                Atom::NoName { path } => drop(names.remove(&**path)),
            }
        }
        let found = |file: FileId| {
            let (mut data, size) = files.get(&file).cloned().unwrap_or_default();
            stretch(&mut data, size);
            data.truncate(size);
            data
        };
        let is_there = |path: &Path| {
            let above = path.parent().filter(|above| *above != Path::new(""));
            above.is_none_or(|above| names.get(above) == Some(&None))
        };
        let names = names.iter().filter(|(path, _)| is_there(path));
        names.map(|(path, file)| (path.to_path_buf(), file.map(found))).collect()
    }
}

/// Extends with zeros up to `len`, as one piece, because files may be long.
fn stretch(data: &mut Vec<u8>, len: usize) {
    let zeros = vec![0; len.saturating_sub(data.len())];
    data.extend_from_slice(&zeros);
}

/// A choice among `n` atoms.
fn choices(n: usize) -> Vec<Vec<bool>> {
    if n <= EXHAUSTIVE {
        return (0..1_usize << n)
            .map(|bits| (0..n).map(|at| bits >> at & 1 == 1).collect())
            .collect();
    }
    let mut all = Vec::new();
    for edge in 0..=n {
        all.push((0..n).map(|at| at < edge).collect());
        all.push((0..n).map(|at| at >= edge).collect());
        all.push((0..n).map(|at| at == edge).collect());
        all.push((0..n).map(|at| at != edge).collect());
    }
    // The same in each run, so that a failure can be repeated.
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..RANDOM {
        let mut draw = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random >> 40 & 1 == 1
        };
        all.push((0..n).map(|_| draw()).collect());
    }
    all
}
