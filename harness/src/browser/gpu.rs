//! Which GPU WebGPU is to run on, and whether this machine has a real one.

use crate::setup::search::{Os, Places};
use clap::ValueEnum;
use std::fs;

/// What to run WebGPU on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gpu {
    /// A software rasteriser: the same everywhere, slow.
    #[default]
    Software,
    /// Whatever GPU the browser picks on this machine.
    Hardware,
}

/// What is asked for on the command line; it is settled before any browser hears of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum GpuChoice {
    /// The real GPU if there is one, else software.
    Auto,
    /// A software rasteriser: the same everywhere, slow.
    #[default]
    Software,
    /// Whatever GPU the browser picks on this machine.
    Hardware,
}

impl GpuChoice {
    /// Settles `auto` by a look at this machine.
    pub fn settle(self) -> Gpu {
        match self {
            GpuChoice::Software => Gpu::Software,
            GpuChoice::Hardware => Gpu::Hardware,
            GpuChoice::Auto if is_there(&Places::of_this_process()) => Gpu::Hardware,
            GpuChoice::Auto => Gpu::Software,
        }
    }
}

/// Drivers of displays that virtual machines and servers have, without a GPU behind them that WebGPU
/// could use.
const DISPLAYS_ONLY: [&str; 12] = [
    "ast",
    "bochs-drm",
    "cirrus",
    "hyperv_drm",
    "mgag200",
    "qxl",
    "simple-framebuffer",
    "vgem",
    "virtio-pci",
    "virtio_gpu",
    "vkms",
    "vmwgfx",
];

/// Whether there is a real GPU. macOS and Windows run nowhere without some GPU, and what the browser
/// makes of it stands in the record.
fn is_there(places: &Places) -> bool {
    if places.os != Os::Linux {
        return true;
    }
    // In a container only the nodes below /dev count: /sys shows what the host has.
    let nodes = places.absolute("/dev/dri").and_then(|folder| folder.read_dir().ok());
    let mut names = nodes.into_iter().flatten().flatten().map(|node| node.file_name());
    let is_real = |name: &str| {
        let about = places.absolute(&format!("/sys/class/drm/{name}/device/uevent"));
        let about = about.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        let driver = about.lines().find_map(|line| line.strip_prefix("DRIVER="));
        !driver.is_some_and(|driver| DISPLAYS_ONLY.contains(&driver))
    };
    // NVIDIA's own driver makes nodes of another name as well, which are all that containers get.
    places.absolute("/dev/nvidia0").is_some()
        || names.any(|name| {
            let name = name.to_string_lossy();
            name.starts_with("renderD") && is_real(&name)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn on_linux(root: &Path) -> bool {
        is_there(&Places::new(Vec::new(), root).on(Os::Linux, &[]))
    }

    #[test]
    fn a_node_counts_by_its_driver() {
        let root = tempfile::tempdir().unwrap();
        assert!(!on_linux(root.path()));
        put(root.path(), "dev/dri/card0", "");
        assert!(!on_linux(root.path()), "a card without a node for rendering");
        put(root.path(), "dev/dri/renderD128", "");
        let uevent = "sys/class/drm/renderD128/device/uevent";
        put(root.path(), uevent, "DRIVER=virtio-pci\nPCI_CLASS=30000\n");
        assert!(!on_linux(root.path()));
        put(root.path(), uevent, "DRIVER=amdgpu\nPCI_CLASS=30000\n");
        assert!(on_linux(root.path()));
    }

    #[test]
    fn a_container_with_nvidia_has_a_gpu() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "dev/nvidia0", "");
        assert!(on_linux(root.path()));
    }
}
