//! kms-crypto
