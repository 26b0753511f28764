//! Which machine this is, for people who look at a fleet.

use sysinfo::System;

/// Operating system, kernel and processor architecture, as far as they are known:
/// `Linux (Debian GNU/Linux 12), kernel 6.1.0-37-amd64, x86_64`.
pub fn inventory() -> String {
    let kernel = System::kernel_version().map(|version| format!("kernel {version}"));
    let parts = [System::long_os_version().ok(), kernel.ok(), Some(System::cpu_arch())];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_inventory_names_the_architecture() {
        assert!(super::inventory().contains(std::env::consts::ARCH), "{}", super::inventory());
    }
}
