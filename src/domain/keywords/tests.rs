//! The rules of matching, with words made up for them. The words that are shipped have a corpus:
//! `tests/it/keywords.rs`.
