//! A Secret or ConfigMap volume, updated as the kubelet does: all files at once, by replacing a symlink.

use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A directory in the layout of the kubelet's `AtomicWriter`: `tls.crt -> ..data/tls.crt`, `..data -> ..<generation>`.
/// A watch on a file does not fire on an update, and a path that was resolved before an update does not exist after it.
#[derive(Debug)]
pub struct Volume {
    dir: PathBuf,
    generation: u32,
}

impl Volume {
    /// Writes the files, by name and content, into an existing directory.
    ///
    /// # Errors
    ///
    /// If a file, directory or symlink cannot be created.
    pub fn mount(dir: &Path, files: &[(&str, &str)]) -> io::Result<Self> {
        let mut volume = Self { dir: dir.to_owned(), generation: 0 };
        volume.update(files)?;
        Ok(volume)
    }

    /// Replaces the whole content at once; files that are not listed are removed.
    ///
    /// # Errors
    ///
    /// If a file, directory or symlink cannot be created, renamed or removed.
    pub fn update(&mut self, files: &[(&str, &str)]) -> io::Result<()> {
        let old = self.generation_dir();
        self.generation += 1;
        let new = self.generation_dir();
        std::fs::create_dir(self.dir.join(&new))?;
        for (name, content) in files {
            std::fs::write(self.dir.join(&new).join(name), content)?;
        }
        // The rename replaces `..data` atomically: readers see either all old files or all new ones.
        symlink(&new, self.dir.join("..data_tmp"))?;
        std::fs::rename(self.dir.join("..data_tmp"), self.dir.join("..data"))?;
        for (name, _) in files {
            let visible = self.dir.join(name);
            // The symlink of an existing file leads through `..data`, so it already points to the new content.
            if !visible.is_symlink() {
                symlink(Path::new("..data").join(name), visible)?;
            }
        }
        self.drop_stale(files)?;
        // The first generation replaces none.
        if self.generation > 1 {
            std::fs::remove_dir_all(self.dir.join(old))?;
        }
        Ok(())
    }

    fn generation_dir(&self) -> String {
        format!("..2026_11_21_00_00_{:02}.{:010}", self.generation % 60, self.generation)
    }

    /// Removes the visible symlinks of files that the new content does not contain.
    fn drop_stale(&self, files: &[(&str, &str)]) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let text = name.to_string_lossy();
            // Names with `..` are the volume's own.
            if !text.starts_with("..") && !files.iter().any(|(file, _)| *file == text) {
                std::fs::remove_file(self.dir.join(&name))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_replaces_all_files_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name));
        let mut volume = Volume::mount(dir.path(), &[("tls.crt", "1"), ("tls.key", "1")]).unwrap();
        assert_eq!(read("tls.crt").unwrap(), "1");
        let resolved = std::fs::canonicalize(dir.path().join("tls.crt")).unwrap();
        volume.update(&[("tls.crt", "2"), ("ca.crt", "2")]).unwrap();
        assert_eq!((read("tls.crt").unwrap(), read("ca.crt").unwrap()), ("2".to_owned(), "2".to_owned()));
        assert!(read("tls.key").is_err() && !resolved.exists());
        assert_eq!(std::fs::read_link(dir.path().join("tls.crt")).unwrap(), Path::new("..data/tls.crt"));
    }
}
