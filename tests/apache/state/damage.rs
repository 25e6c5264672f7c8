//! Whatever lies where a file or a directory of ours should, Apache starts, and says what it found.
