//! The shipped files in Debian's tree of configuration, without any replacement.

use super::*;

/// Returns a copy of Debian's tree, with mod_slot where `make install` puts it, and with the modules
/// that the files name.
fn tree(site: &Site) -> std::path::PathBuf {
    let tree = site.path().join("apache2");
    run(Command::new("cp").args(["-a", "/etc/apache2"]).arg(&tree));
    let modules = site.path().join("modules");
    fs::create_dir(&modules).unwrap();
    std::os::unix::fs::symlink(site.module(), modules.join("mod_slot.so")).unwrap();
    let load = shipped::file("apache/slot.load");
    let load = load.replace("@LIBEXECDIR@", modules.to_str().unwrap());
    fs::write(tree.join("mods-available/slot.load"), load).unwrap();
    let conf = shipped::file("apache/slot.conf");
    fs::write(tree.join("mods-available/slot.conf"), conf).unwrap();
    let example = shipped::file("apache/example-vhost.conf");
    let (_, line) = example.split_once("#     a2enmod ").expect("it names the modules");
    let names = line.lines().next().unwrap().split(' ');
    run(Command::new("/usr/sbin/a2enmod").args(names).env("APACHE_CONFDIR", &tree));
    tree
}

fn run(command: &mut Command) -> String {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", text(&out));
    text(&out)
}

/// `apachectl configtest` of the tree.
fn configtest(site: &Site, tree: &Path) -> String {
    let mut command = Command::new(site.program());
    command.args(["-t", "-d"]).arg(tree).args(["-f", "apache2.conf"]);
    for name in ["RUN_DIR", "LOCK_DIR", "LOG_DIR"] {
        command.env(format!("APACHE_{name}"), site.path());
    }
    command.env("APACHE_PID_FILE", site.path().join("pid"));
    command.env("APACHE_RUN_USER", "www-data").env("APACHE_RUN_GROUP", "www-data");
    run(&mut command)
}

#[test]
fn the_example_files_load_on_debian_as_they_are() {
    let site = Site::new();
    let layout = Command::new(site.program()).arg("-V").output().unwrap();
    if !Path::new("/usr/sbin/a2enmod").exists() || !text(&layout).contains("apache2.conf") {
        return crate::skip::skip("this is not Debian's Apache");
    }
    let tree = tree(&site);
    let said = configtest(&site, &tree);
    assert!(said.ends_with("Syntax OK\n"), "{said}");
    let enabled = tree.join("sites-enabled/app.conf");
    fs::write(&enabled, shipped::file("apache/example-vhost.conf")).unwrap();
    let said = configtest(&site, &tree);
    assert!(said.ends_with("Syntax OK\n") && !said.contains("AH00111"), "{said}");
    // The group in slot.conf, without its comment signs, and README's virtual host.
    let conf = shipped::uncommented(&shipped::file("apache/slot.conf"));
    assert_eq!(conf.matches("\n<SlotGroup app>\n").count(), 1, "{conf}");
    fs::write(tree.join("mods-available/slot.conf"), &conf).unwrap();
    let [(_, site_of_readme), ..] = shipped::sites();
    let (_, host) = site_of_readme.split_once("<VirtualHost").unwrap();
    fs::write(&enabled, format!("<VirtualHost{host}")).unwrap();
    assert!(configtest(&site, &tree).ends_with("Syntax OK\n"));
}
