//! Generated files in a checkout of this repository.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};

use crate::telemetry::rules::Files;

/// A checkout of this repository.
pub(super) struct Checkout<'a>(&'a Path);

impl<'a> Checkout<'a> {
    pub(super) const fn new(root: &'a Path) -> Self {
        Self(root)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn read(&self, name: &str) -> anyhow::Result<String> {
        let path = self.path(name);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    /// Writes the files that are out of date.
    pub(super) fn write(&self, files: &Files) -> anyhow::Result<()> {
        for (name, text) in self.outdated(files) {
            let path = self.path(name);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(&path, text).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }

    /// Fails if a file is out of date; `command` updates them.
    pub(super) fn check(&self, files: &Files, command: &str) -> anyhow::Result<()> {
        let names: Vec<&str> = self.outdated(files).map(|(name, _)| name.as_str()).collect();
        ensure!(names.is_empty(), "out of date: {}; run `{command}`", names.join(", "));
        Ok(())
    }

    fn outdated<'f>(&self, files: &'f Files) -> impl Iterator<Item = &'f (String, String)> {
        files.iter().filter(|(name, text)| self.read(name).ok().as_ref() != Some(text))
    }
}
