//! An access log: its most frequent paths.

use super::line::{self, Line, Queries};
use rustc_hash::FxHashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// How much of the log's end is read, in bytes.
const TAIL: u64 = 256 << 20;
/// How many different paths are counted. Later ones are left out.
const COUNTED: usize = 100_000;
/// How many bytes of paths are kept in memory.
const KEPT: usize = 32 << 20;
/// The longest line that is read.
const LONGEST: usize = 64 << 10;
/// How many paths a log yields.
pub const MOST: usize = 200;

/// What a log says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// The paths, the most frequent first.
    pub paths: Vec<String>,
    /// How many lines were read.
    pub lines: u64,
    /// How many of them were left out, because they are in another format or not sane.
    pub odd: u64,
}

/// Reads the end of an access log, at most 256 MiB, and returns its most frequent paths, at most `most`.
///
/// # Errors
///
/// It can't be opened or read, or is not a regular file.
pub fn read(path: &Path, queries: Queries, most: usize) -> io::Result<Log> {
    // Not blocked by a pipe without a writer.
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let is_cut = start_at_tail(&mut file, meta.len())?;
    let mut from = BufReader::with_capacity(LONGEST, file.take(TAIL));
    if is_cut {
        let mut torn = Vec::new();
        next(&mut from, &mut torn)?;
    }
    count(&mut from, queries, most)
}

/// Skips what precedes the last [`TAIL`] bytes. Returns whether it skipped anything, so that the first line may
/// be torn.
fn start_at_tail(file: &mut File, len: u64) -> io::Result<bool> {
    let Some(skipped) = len.checked_sub(TAIL).filter(|skipped| *skipped > 0) else {
        return Ok(false);
    };
    file.seek(SeekFrom::Start(skipped))?;
    Ok(true)
}

fn count(from: &mut impl BufRead, queries: Queries, most: usize) -> io::Result<Log> {
    let mut log = Log::default();
    let mut counts: FxHashMap<String, u64> = FxHashMap::default();
    let (mut line, mut kept) = (Vec::new(), 0);
    while let Some(is_whole) = next(from, &mut line)? {
        log.lines += 1;
        match if is_whole { line::read(&line, queries) } else { Line::Odd } {
            Line::Odd => log.odd += 1,
            Line::Other => {}
            Line::Path(path) => {
                if let Some(count) = counts.get_mut(&path) {
                    *count += 1;
                } else if counts.len() < COUNTED && kept + path.len() <= KEPT {
                    kept += path.len();
                    counts.insert(path, 1);
                }
            }
        }
    }
    let mut counts = Vec::from_iter(counts);
    // Equal counts in the order of the alphabet, so that each run has the same paths.
    counts.sort_unstable_by(|(path, count), (other, more)| more.cmp(count).then(path.cmp(other)));
    log.paths = counts.into_iter().take(most).map(|(path, _)| path).collect();
    Ok(log)
}

/// Reads the next line, without its end. Returns `None` at the end of the file, and false for a line that is too
/// long, of which only the beginning is kept.
fn next(from: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    let (mut is_whole, mut is_begun) = (true, false);
    loop {
        let bytes = match from.fill_buf() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            bytes => bytes?,
        };
        if bytes.is_empty() {
            return Ok(is_begun.then_some(is_whole));
        }
        is_begun = true;
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = &bytes[..end.unwrap_or(bytes.len())];
        is_whole &= line.len() + part.len() <= LONGEST;
        if is_whole {
            line.extend_from_slice(part);
        }
        let used = part.len() + usize::from(end.is_some());
        from.consume(used);
        if end.is_some() {
            return Ok(Some(is_whole));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    fn line(path: &str) -> String {
        format!("::1 - - [27/Nov/2026:10:00:00 +0100] \"GET {path} HTTP/1.1\" 200 12\n")
    }

    fn of(bytes: &[u8], most: usize) -> Log {
        // A small buffer, so that lines lie across its end.
        count(&mut BufReader::with_capacity(7, bytes), Queries::Drop, most).unwrap()
    }

    #[test]
    fn the_most_frequent_paths_come_first() {
        let paths = ["/b", "/c?1", "/a", "/c?2", "/d", "/c;jsessionid=x", "/a"];
        let text = paths.map(line).concat();
        assert_eq!(of(text.as_bytes(), 3).paths, ["/c", "/a", "/b"]);
        assert_eq!(of(text.as_bytes(), 9).paths.len(), 4);
    }

    #[test]
    fn what_is_not_text_is_left_out_and_counted() {
        let mut bytes = line("/a").into_bytes();
        bytes.extend(b"\xff\xfe\x00\x80\n\n");
        bytes.extend("x".repeat(LONGEST + 1).bytes());
        bytes.extend(b"] \"GET /long HTTP/1.1\" 200\n");
        bytes.extend(line("//evil/").bytes());
        bytes.extend(line("/b").trim_end().bytes());
        let log = of(&bytes, 9);
        assert_eq!((log.lines, log.odd), (6, 4));
        assert_eq!(log.paths, ["/a", "/b"]);
        assert_eq!(of(b"", 9), Log::default());
    }

    #[test]
    fn memory_is_bounded_by_the_number_of_paths() {
        let mut text: String = (0..COUNTED + 10).map(|n| line(&format!("/{n}"))).collect();
        text += &line("/5").repeat(3);
        text += &line("/new").repeat(5);
        let log = of(text.as_bytes(), usize::MAX);
        assert_eq!((log.paths.len(), log.paths[0].as_str()), (COUNTED, "/5"));
    }

    #[test]
    fn only_the_end_of_a_large_log_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let file = File::create(&path).unwrap();
        // 10 GB of holes, then a line that the cut tears, then whole ones.
        let len = 10 << 30;
        let torn = line("/torn");
        let at = len - TAIL - torn.len() as u64 / 2;
        file.write_all_at(line("/early").as_bytes(), 0).unwrap();
        file.write_all_at(format!("\n{torn}{}", line("/a")).as_bytes(), at - 1).unwrap();
        let last = format!("\n{}", line("/b"));
        file.write_all_at(last.as_bytes(), len - last.len() as u64).unwrap();
        let log = read(&path, Queries::Drop, MOST).unwrap();
        assert_eq!(log.paths, ["/a", "/b"]);
        assert_eq!(fs::metadata(&path).unwrap().len(), len);
    }

    #[test]
    fn a_log_that_cannot_be_read_is_an_error_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [dir.path(), &pipe, Path::new("/dev/zero")] {
            let why = read(path, Queries::Drop, MOST).unwrap_err().to_string();
            assert!(why.contains("not a regular file"), "{why}");
        }
        assert!(read(&dir.path().join("none"), Queries::Drop, MOST).is_err());
        let mut empty = File::create(dir.path().join("empty")).unwrap();
        empty.flush().unwrap();
        assert_eq!(read(&dir.path().join("empty"), Queries::Drop, MOST).unwrap(), Log::default());
    }
}
