//! `SlotMaintenance`, ready for requests: the page is in memory, and the expression is parsed.

use super::host::{Expression, Reading};
use crate::group::maintenance as configured;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

/// The largest page, in bytes. Each answer copies it.
const MAX_PAGE: u64 = 1 << 20;

/// What a `SlotMaintenance` says, ready for requests.
#[derive(Clone, Debug)]
pub(super) struct Maintenance {
    pub(super) page: Option<Arc<CStr>>,
    pub(super) allow: Option<Expression>,
    pub(super) retry_after: CString,
    pub(super) serves_files: bool,
}

impl Maintenance {
    /// Reads the page, and parses the expression.
    pub(super) fn of(
        reading: &Reading<'_>,
        said: &configured::Maintenance,
    ) -> Result<Self, String> {
        let page = said.page.as_ref().map(|path| {
            let page = read(reading, path);
            page.map_err(|why| format!("SlotMaintenance: page={path}: {why}"))
        });
        let allow = said.allow.as_ref().map(|text| {
            let allow = reading.expression(text);
            allow.map_err(|why| format!("SlotMaintenance: allow={text}: {why}"))
        });
        Ok(Self {
            page: page.transpose()?,
            allow: allow.transpose()?,
            retry_after: decimal(said.retryafter),
            serves_files: said.serves_files,
        })
    }
}

impl Default for Maintenance {
    fn default() -> Self {
        let configured::Maintenance { retryafter, serves_files, .. } = Default::default();
        Self { page: None, allow: None, retry_after: decimal(retryafter), serves_files }
    }
}

fn decimal(number: u32) -> CString {
    CString::new(number.to_string()).expect("digits")
}

/// Reads the page into memory: Apache's children may not be able to read the file.
fn read(reading: &Reading<'_>, path: &str) -> Result<Arc<CStr>, String> {
    let path = reading.server_path(path).ok_or("Apache does not accept this path")?;
    let is_file = |path| std::fs::metadata(path).map(|meta| meta.is_file());
    // Opening a pipe would not return.
    if !is_file(&path).map_err(|e| format!("it cannot be read: {e}"))? {
        return Err("it is not a file".into());
    }
    let mut page = Vec::new();
    let file = File::open(&path).map_err(|e| format!("it cannot be read: {e}"))?;
    let size = file.take(MAX_PAGE + 1).read_to_end(&mut page);
    if size.map_err(|e| format!("it cannot be read: {e}"))? as u64 > MAX_PAGE {
        return Err(
            "it is larger than 1 MiB; have the page load its pictures from elsewhere".into()
        );
    }
    let page = String::from_utf8(page).map_err(|_| "it is not UTF-8; save it as UTF-8")?;
    // Apache would take such a text for the URL of an error page.
    let scheme = page.split_once(':').map(|(scheme, _)| scheme);
    let is_url = scheme.is_some_and(|s| s.bytes().all(|byte| byte.is_ascii_graphic()));
    let page = if is_url || page.starts_with('/') { format!("\n{page}") } else { page };
    let page = CString::new(page).map_err(|_| "it has a NUL character; save it as text")?;
    Ok(Arc::from(page))
}
