//! How many requests of this process a hold concerns. Other requests pay only for a look at this number.

/// The requests of this process that are set aside, wait without a thread, or were held and are not over. Zero at nearly
/// all times.
// Not loom's: it is no part of the protocol.
pub(super) static ASIDE: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
