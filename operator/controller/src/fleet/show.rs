//! The status of custom resources, written where it changed.

use super::Fleet;

impl Fleet {
    pub(super) fn restore_migrations(&mut self) {}
    pub(super) fn write_migration(&mut self, _name: &str) {}
    pub(super) fn show(&mut self) {}
}
