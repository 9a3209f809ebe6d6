//! zonekms
