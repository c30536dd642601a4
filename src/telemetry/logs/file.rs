//! The rotating log file: a full file is renamed to `FILE.1`, `FILE.1` to `FILE.2` and so on; the
//! oldest is overwritten.
//!
//! `tracing-appender` rotates by time only and does not bound the size; `file-rotate` silently
//! drops lines while it has no file, and panics if a name is taken.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// A file that is rotated when it is full. Each write must consist of whole lines.
pub(super) struct RotatingFile {
    path: PathBuf,
    bytes_max: u64,
    /// The number of full files to keep.
    count: usize,
    file: Option<File>,
    bytes: u64,
    /// True if the last write may have ended within a line.
    torn: bool,
}

impl RotatingFile {
    /// Opens the file for appending, and creates its folder.
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

    /// Renames all files by one. After a failure the line is dropped and the next write tries
    /// again: the bound on disk usage takes precedence over the lines.
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

impl Write for RotatingFile {
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
    fn a_full_file_is_renamed_and_the_oldest_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/app.log");
        let mut file = RotatingFile::open(&path, 10, 2).unwrap();
        for line in ["aaaa\n", "bbbb\n", "cccc\n", "dddd\n", "eeee\n", "ffff\n", "gggg\n"] {
            file.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(lines(&path), ["gggg"]);
        assert_eq!(lines(&file.numbered(1)), ["eeee", "ffff"]);
        assert_eq!(lines(&file.numbered(2)), ["cccc", "dddd"]);
        assert!(!file.numbered(3).exists());
        // a line longer than the bound is written whole, to a file of its own
        file.write_all(b"a line that is too long\n").unwrap();
        assert_eq!(lines(&path), ["a line that is too long"]);
    }

    #[test]
    fn an_existing_file_is_appended_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.log");
        fs::write(&path, "old\n").unwrap();
        let mut file = RotatingFile::open(&path, 8, 1).unwrap();
        file.write_all(b"new\n").unwrap();
        assert_eq!(lines(&path), ["old", "new"]);
        file.write_all(b"next\n").unwrap();
        assert_eq!(
            (lines(&path), lines(&file.numbered(1))),
            (vec!["next".into()], vec!["old".into(), "new".into()])
        );
    }

    #[test]
    fn a_failed_rotation_is_an_error_and_the_file_does_not_grow() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.log");
        let mut file = RotatingFile::open(&path, 8, 1).unwrap();
        // a folder has the name of the full file
        fs::create_dir_all(file.numbered(1).join("full")).unwrap();
        file.write_all(b"12345678\n").unwrap();
        file.write_all(b"lost\n").unwrap_err();
        assert_eq!(lines(&path), ["12345678"]);
        fs::remove_dir_all(file.numbered(1)).unwrap();
        file.write_all(b"written\n").unwrap();
        assert_eq!(lines(&path), ["written"]);
    }
}
