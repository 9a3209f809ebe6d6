//! kms-service
