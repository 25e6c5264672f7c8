//! Records, with strace, what a program does to the files below a directory.

use super::disk::{FileId, Op};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The calls that change files, and those needed to understand them.
const CALLS: &str = "openat,open,creat,close,write,pwrite64,writev,pwritev,ftruncate,truncate,\
    fallocate,fsync,fdatasync,msync,mmap,rename,renameat,renameat2,link,linkat,symlink,symlinkat,\
    unlink,unlinkat,mkdir,mkdirat";

/// Records programs one after another; the second finds what the first has made.
pub(crate) struct Recorder {
    root: PathBuf,
    pub(crate) ops: Vec<Op>,
    names: BTreeMap<PathBuf, FileId>,
    sizes: HashMap<FileId, usize>,
}

enum Open {
    File { file: FileId, at: usize, append: bool },
    Directory(PathBuf),
}

impl Recorder {
    pub(crate) fn of(root: &Path) -> Self {
        let root = root.into();
        Self { root, ops: Vec::new(), names: BTreeMap::new(), sizes: HashMap::new() }
    }

    /// A file with this content, durable before the recording.
    pub(crate) fn give(&mut self, path: &Path, bytes: Vec<u8>) {
        fs::write(path, &bytes).unwrap();
        let path = path.strip_prefix(&self.root).unwrap();
        let file = self.names[path];
        let len = bytes.len();
        self.sizes.insert(file, len);
        // As one piece, which can no longer be torn.
        self.ops.push(Op::Store { file, at: 0, bytes });
        self.ops.push(Op::Resize { file, len });
        self.ops.push(Op::Sync { file });
        self.ops.push(Op::Acknowledge);
    }

    /// Runs `command`, which must succeed. If `speaks`, its first output is its
    /// acknowledgement; otherwise its end is.
    pub(crate) fn run(&mut self, command: &Command, speaks: bool) {
        let trace = tempfile::NamedTempFile::new().unwrap();
        let mut traced = Command::new("strace");
        traced.args(["-f", "-q", "-xx", "-s", "1000000", "-e", "signal=none", "-e"]);
        traced.arg(format!("trace={CALLS}")).arg("-o").arg(trace.path());
        traced.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => traced.env(name, value),
                None => traced.env_remove(name),
            };
        }
        let out = traced.output().expect("strace is installed");
        assert!(out.status.success(), "{traced:?}: {}", String::from_utf8_lossy(&out.stderr));
        let text = fs::read_to_string(trace.path()).unwrap();
        let before = self.ops.len();
        self.understand(&text, speaks);
        if !speaks {
            self.ops.push(Op::Acknowledge);
        }
        let acknowledged = self.ops[before..].iter().filter(|op| matches!(op, Op::Acknowledge));
        assert_eq!(acknowledged.count(), 1, "{text}");
    }

    fn understand(&mut self, text: &str, speaks: bool) {
        let (mut open, mut mapped, mut begun) = (HashMap::new(), HashMap::new(), HashMap::new());
        for line in text.lines() {
            let (thread, line) = line.split_once(' ').unwrap();
            let line = line.trim_start();
            if let Some(half) = line.strip_suffix(" <unfinished ...>") {
                begun.insert(thread, half.to_owned());
                continue;
            }
            let line = match line.split_once(" resumed>") {
                Some((_, rest)) => begun.remove(thread).unwrap() + rest,
                None => line.to_owned(),
            };
            let Some((name, rest)) = line.split_once('(') else { continue };
            let Some((args, result)) = rest.rsplit_once(" = ") else { continue };
            let args = args.trim_end().strip_suffix(')').unwrap_or(args);
            let args: Vec<_> = args.split(", ").collect();
            let result = result.split(' ').next().unwrap();
            if !result.starts_with('-') {
                self.call(name, &args, result, speaks, &mut open, &mut mapped);
            }
        }
    }

    fn call(
        &mut self,
        name: &str,
        args: &[&str],
        result: &str,
        speaks: bool,
        open: &mut HashMap<String, Open>,
        mapped: &mut HashMap<String, FileId>,
    ) {
        match name {
            "openat" => {
                open.remove(result);
                let Some(path) = self.below(args[1]) else { return };
                let flags = args[2];
                let opened = if self.root.join(&path).is_dir() {
                    Open::Directory(path)
                } else {
                    let file = self.file(&path, flags.contains("O_CREAT"));
                    if flags.contains("O_TRUNC") {
                        self.resize(file, 0);
                    }
                    Open::File { file, at: 0, append: flags.contains("O_APPEND") }
                };
                open.insert(result.into(), opened);
            }
            "close" => drop(open.remove(args[0])),
            "write" if speaks && args[0] == "1" => self.ops.push(Op::Acknowledge),
            "write" | "pwrite64" => {
                let Some(Open::File { file, at, append }) = open.get_mut(args[0]) else { return };
                let mut bytes = unescaped(args[1]);
                bytes.truncate(result.parse().unwrap());
                let size = self.sizes.entry(*file).or_default();
                let place = match (name, &append) {
                    ("pwrite64", _) => args[3].parse().unwrap(),
                    (_, true) => *size,
                    _ => *at,
                };
                *at = place + bytes.len();
                *size = (*size).max(*at);
                self.ops.push(Op::Write { file: *file, at: place, bytes });
            }
            "ftruncate" => {
                let Some(Open::File { file, .. }) = open.get(args[0]) else { return };
                self.resize(*file, args[1].parse().unwrap());
            }
            "fsync" | "fdatasync" => match open.get(args[0]) {
                Some(Open::File { file, .. }) => self.ops.push(Op::Sync { file: *file }),
                Some(Open::Directory(path)) => {
                    self.ops.push(Op::SyncDirectory { path: path.clone() });
                }
                None => {}
            },
            "mmap" if args[2].contains("PROT_WRITE") && args[3].contains("MAP_SHARED") => {
                let Some(Open::File { file, .. }) = open.get(args[4]) else { return };
                mapped.insert(result.into(), *file);
                self.store(*file);
            }
            "msync" => {
                assert!(args[2].contains("MS_SYNC"));
                self.ops.push(Op::Sync { file: mapped[args[0]] });
            }
            "rename" => {
                let (Some(from), Some(to)) = (self.below(args[0]), self.below(args[1])) else {
                    return;
                };
                let file = self.names.remove(&from).expect("it was made");
                self.names.insert(to.clone(), file);
                self.ops.push(Op::Rename { from, to });
            }
            "unlink" => {
                let Some(path) = self.below(args[0]) else { return };
                self.names.remove(&path);
                self.ops.push(Op::Unlink { path });
            }
            "mkdir" => {
                let Some(path) = self.below(args[0]) else { return };
                self.ops.push(Op::Make { path, file: None });
            }
            "mmap" => {}
            _ => {
                let touches =
                    args.iter().any(|arg| self.below(arg).is_some()) || open.contains_key(args[0]);
                assert!(!touches, "the disk does not know {name}({args:?})");
            }
        }
    }

    /// A store into a mapping is no system call. There is at most one per mapping: of the sector with the word,
    /// as it is in the end, at any time from now on.
    fn store(&mut self, file: FileId) {
        use mod_slot::state::control::WORD;
        const SECTOR: usize = 512;
        let (path, _) = self.names.iter().find(|(_, named)| **named == file).unwrap();
        let bytes = fs::read(self.root.join(path)).unwrap()[WORD..SECTOR].to_vec();
        self.ops.push(Op::Store { file, at: WORD, bytes });
    }

    fn resize(&mut self, file: FileId, len: usize) {
        if self.sizes.insert(file, len) != Some(len) {
            self.ops.push(Op::Resize { file, len });
        }
    }

    fn file(&mut self, path: &Path, create: bool) -> FileId {
        if let Some(file) = self.names.get(path) {
            return *file;
        }
        assert!(create, "{path:?} came from nowhere");
        let file = self.sizes.len();
        self.sizes.insert(file, 0);
        self.names.insert(path.into(), file);
        self.ops.push(Op::Make { path: path.into(), file: Some(file) });
        file
    }

    /// A path relative to the directory; the directory itself is "".
    fn below(&self, arg: &str) -> Option<PathBuf> {
        let path = PathBuf::from(OsString::from_vec(unescaped(arg)));
        path.strip_prefix(&self.root).ok().map(Path::to_path_buf)
    }
}

/// The bytes of `"\x2f\x74"`.
fn unescaped(text: &str) -> Vec<u8> {
    let text = text.trim_matches('"');
    text.split("\\x").skip(1).map(|hex| u8::from_str_radix(&hex[..2], 16).unwrap()).collect()
}
