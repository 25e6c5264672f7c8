//! References that live as long as a request.

use std::ops::Deref;
use std::ptr::NonNull;

/// A value that the configuration or the request's own pool owns, kept with a request.
///
/// A request's pool is below the configuration's pool, and APR clears the pools below before it drops what a pool
/// owns. So the configuration lives longer than anything that a request keeps, and than its drop. Hooks get a `Kept`
/// from a request only, and can keep it only with the request.
#[derive(Debug)]
pub(crate) struct Kept<T: ?Sized>(pub(super) NonNull<T>);

impl<T> Kept<T> {
    /// A part of the value, kept as long.
    pub(crate) fn part<U: ?Sized>(self, of: impl FnOnce(&T) -> &U) -> Kept<U> {
        // SAFETY: as in `deref`; what is borrowed from the value lives as long, and does not move.
        Kept(NonNull::from(of(unsafe { self.0.as_ref() })))
    }

    /// The value, for as long as its request lives.
    pub(crate) fn lend<'a>(self) -> &'a T {
        // SAFETY: as in `deref`. The caller has it from a request, which lives for `'a`.
        unsafe { self.0.as_ref() }
    }

    /// A part that the value may have.
    pub(crate) fn try_part<U: ?Sized>(self, of: impl FnOnce(&T) -> Option<&U>) -> Option<Kept<U>> {
        // SAFETY: as in `part`.
        of(unsafe { self.0.as_ref() }).map(|part| Kept(NonNull::from(part)))
    }

    /// A part that a search finds, with another result of the search.
    ///
    /// # Errors
    ///
    /// Those of the search.
    pub(crate) fn find_part<U: ?Sized, V, E>(
        self,
        find: impl FnOnce(&T) -> Result<(&U, V), E>,
    ) -> Result<(Kept<U>, V), E> {
        // SAFETY: as in `part`.
        let (part, more) = find(unsafe { self.0.as_ref() })?;
        Ok((Kept(NonNull::from(part)), more))
    }
}

impl<T: ?Sized> Clone for Kept<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Kept<T> {}

impl<T: ?Sized> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: see the type. While requests are served, nobody writes the configuration.
        unsafe { self.0.as_ref() }
    }
}
