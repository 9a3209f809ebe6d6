//! kms-lifecycle
