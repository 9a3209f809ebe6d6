//! The program and its configuration, from outside.

mod config_files;
mod inspect;
mod program;
