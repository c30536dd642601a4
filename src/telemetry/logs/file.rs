//! The log file: full ones are renamed to `FILE.1`, `FILE.2` and so on, the oldest goes.
//!
//! Not a crate: `tracing-appender` rotates by time only, so that no size bounds it; `file-rotate`
//! drops lines silently when it has no file, and panics on a name that is taken.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// A file that is exchanged when it is full. Each write is whole lines.
pub(super) struct Rotating {
    path: PathBuf,
    bytes_max: u64,
    /// Full files that are kept.
    count: usize,
    file: Option<File>,
    bytes: u64,
    /// The last write may have ended inside a line.
    torn: bool,
}

impl Rotating {
    /// Opens the file to append to it; its folder is made.
    pub(super) fn open(path: &Path, bytes_max: u64, count: usize) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let path = path.to_owned();
        let mut rotating = Self { path, bytes_max, count, file: None, bytes: 0, torn: false };
        rotating.reopen()?;
        Ok(rotating)
    }

    fn reopen(&mut self) -> io::Result<()> {
        let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        self.bytes = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    fn numbered(&self, n: usize) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{n}"));
        PathBuf::from(name)
    }

    /// Renames all files by one. A failure is told, and tried again with the next write: the bound
    /// counts more than the lines.
    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        for n in (1..self.count).rev() {
            let (from, to) = (self.numbered(n), self.numbered(n + 1));
            if from.exists() {
                fs::rename(from, to)?;
            }
        }
        fs::rename(&self.path, self.numbered(1))?;
        self.reopen()
    }
}

impl Write for Rotating {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        if self.file.is_none() {
            self.reopen()?;
        }
        if self.bytes > 0 && self.bytes + lines.len() as u64 > self.bytes_max {
            self.rotate()?;
        }
        let file = self.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        if self.torn {
            file.write_all(b"\n")?;
            self.torn = false;
        }
        let written = file.write_all(lines);
        if written.is_err() {
            self.torn = true;
            self.file = None;
        }
        written?;
        self.bytes += lines.len() as u64;
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> Vec<String> {
        fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn full_files_are_renamed_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/app.log");
        let mut file = Rotating::open(&path, 10, 2).unwrap();
        for line in ["aaaa\n", "bbbb\n", "cccc\n", "dddd\n", "eeee\n", "ffff\n", "gggg\n"] {
            file.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(lines(&path), ["gggg"]);
        assert_eq!(lines(&file.numbered(1)), ["eeee", "ffff"]);
        assert_eq!(lines(&file.numbered(2)), ["cccc", "dddd"]);
        assert!(!file.numbered(3).exists());
        // a line longer than a file is written whole, in one of its own
        file.write_all(b"a line that is too long\n").unwrap();
        assert_eq!(lines(&path), ["a line that is too long"]);
    }

    #[test]
    fn what_is_there_is_appended_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.log");
        fs::write(&path, "old\n").unwrap();
        let mut file = Rotating::open(&path, 8, 1).unwrap();
        file.write_all(b"new\n").unwrap();
        assert_eq!(lines(&path), ["old", "new"]);
        file.write_all(b"next\n").unwrap();
        assert_eq!(
            (lines(&path), lines(&file.numbered(1))),
            (vec!["next".into()], vec!["old".into(), "new".into()])
        );
    }

    #[test]
    fn what_cannot_be_renamed_is_told_and_nothing_grows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.log");
        let mut file = Rotating::open(&path, 8, 1).unwrap();
        // a folder stands where the full file should go
        fs::create_dir_all(file.numbered(1).join("full")).unwrap();
        file.write_all(b"12345678\n").unwrap();
        file.write_all(b"lost\n").unwrap_err();
        assert_eq!(lines(&path), ["12345678"]);
        fs::remove_dir_all(file.numbered(1)).unwrap();
        file.write_all(b"kept\n").unwrap();
        assert_eq!(lines(&path), ["kept"]);
    }
}
