//! Maintenance: while the bit of the control word is on, the requests of a group are answered with 503, except for those
//! that `allow=` of `SlotMaintenance` names. The bit is read from the word that the request has entered with.

use super::group::Group;
use super::host::{Answer, Expression, Message, Reading, Request, server_file};
use super::kept::{Pin, State};
use super::pin;
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
    page: Option<Arc<CStr>>,
    allow: Option<Expression>,
    retry_after: CString,
    serves_files: bool,
}

/// What a request wants of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The files of its docroot.
    Files,
    /// Its backend.
    Backend,
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
    let path = server_file(reading, path).ok_or("Apache does not accept this path")?;
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

/// Whether a request that has entered during maintenance stays in its slot. If not, it leaves, and ends with a 503.
#[cold]
#[inline(never)]
pub(super) fn admits(request: &Request, pin: &Pin, purpose: Purpose) -> bool {
    let of_group = &pin.group.maintenance;
    let is_admitted = !pin.is_refused()
        && (purpose == Purpose::Files && of_group.serves_files
            || is_allowed(request.root(), &pin.group));
    if !is_admitted {
        pin.refuse();
        pin::unmark(request.root(), pin);
        // The index of a directory is looked up by a sub-request, whose status the directory's request takes.
        let requests = std::iter::successors(Some(request), |request| request.main());
        requests.for_each(|request| close(request, of_group));
    }
    is_admitted
}

fn is_allowed(request: &Request, group: &Group) -> bool {
    let Some(allow) = group.maintenance.allow else { return false };
    request.is_true(allow).unwrap_or_else(|why| {
        let text = format!(
            "group {:?}: allow= of SlotMaintenance failed, so the request is not allowed: {why}",
            group.name
        );
        request.log(Message::NotEvaluated, &text);
        false
    })
}

const MARK: &CStr = c"SLOT_MAINTENANCE";

/// Prepares the 503 of a request.
fn close(request: &Request, of_group: &Maintenance) {
    request.set_env([(MARK, c"1")]);
    request.set_error_field(c"Retry-After", &of_group.retry_after);
    if let Some(page) = &of_group.page {
        request.set_error_page(Answer::UNAVAILABLE, page);
        State::of(request).has_page.set(true);
    }
}

/// insert_error_filter: Apache sends our page as text of its own, and gives it its own type.
pub(super) fn begin_page(request: &Request) {
    let has_page = State::known(request).is_some_and(|state| state.has_page.get());
    if has_page && request.is_answered(Answer::UNAVAILABLE) {
        request.tell_error_page();
    }
}

/// The page begins.
pub(super) fn give_type(request: &Request) {
    request.set_content_type(c"text/html; charset=utf-8");
}

/// translate_name, for a request that has no slot's docroot. An ErrorDocument may lie outside of the docroot, which
/// later modules find out; then it is served.
#[cold]
pub(super) fn without_docroot(request: &Request) -> Answer {
    let may_be_elsewhere = request.is_redirect() && request.has_env(MARK);
    if may_be_elsewhere { Answer::DECLINED } else { Answer::UNAVAILABLE }
}

/// translate_name, after all other modules: an ErrorDocument that none of them has found would lie in the docroot.
#[cold]
#[inline(never)]
pub(super) fn end_without_docroot(request: &Request) -> Answer {
    if request.has_env(MARK) { Answer::UNAVAILABLE } else { Answer::DECLINED }
}
