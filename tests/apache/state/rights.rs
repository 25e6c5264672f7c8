//! Who owns what, and who may what.
