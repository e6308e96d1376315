//! A Secret or ConfigMap volume, which changes as kubelet changes it: all files at once, by a swapped symlink.

use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A directory as kubelet's `AtomicWriter` keeps it: `tls.crt -> ..data/tls.crt`, `..data -> ..<generation>`. A
/// watch on a file sees nothing of a change, and a path resolved before it shows the old content.
#[derive(Debug)]
pub struct Volume {
    dir: PathBuf,
    generation: u32,
}

impl Volume {
    /// Fills an existing directory.
    ///
    /// # Errors
    ///
    /// When something can't be written.
    pub fn mount(dir: &Path, files: &[(&str, &str)]) -> io::Result<Self> {
        let mut volume = Self { dir: dir.to_owned(), generation: 0 };
        volume.update(files)?;
        Ok(volume)
    }

    /// Replaces the content, all files at once.
    ///
    /// # Errors
    ///
    /// When something can't be written.
    pub fn update(&mut self, files: &[(&str, &str)]) -> io::Result<()> {
        let old = self.generation_dir();
        self.generation += 1;
        let new = self.generation_dir();
        std::fs::create_dir(self.dir.join(&new))?;
        for (name, content) in files {
            std::fs::write(self.dir.join(&new).join(name), content)?;
        }
        symlink(&new, self.dir.join("..data_tmp"))?;
        std::fs::rename(self.dir.join("..data_tmp"), self.dir.join("..data"))?;
        for (name, _) in files {
            let visible = self.dir.join(name);
            if !visible.is_symlink() {
                symlink(Path::new("..data").join(name), visible)?;
            }
        }
        self.drop_stale(files)?;
        if self.generation > 1 {
            std::fs::remove_dir_all(self.dir.join(old))?;
        }
        Ok(())
    }

    fn generation_dir(&self) -> String {
        format!("..2026_11_21_00_00_{:02}.{:010}", self.generation % 60, self.generation)
    }

    fn drop_stale(&self, files: &[(&str, &str)]) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let text = name.to_string_lossy();
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
    fn content_changes_all_at_once() {
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
