//! The other sites of the guides: Tomcat without docroots, and PHP-FPM.

use super::*;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::thread;

/// Returns the site of a guide.
fn site_of(guide: &str) -> String {
    let blocks = shipped::blocks(&format!("apache/guides/{guide}.md"));
    blocks.into_iter().find(|block| shipped::is_site(block)).expect("it shows a site")
}

#[test]
fn a_site_without_docroots_gives_everything_to_its_container() {
    let site = started(&(site_of("tomcat") + "# /home/httpd"));
    for (slot, name) in [("blue", SLOTS[0]), ("green", SLOTS[1])] {
        // The Tomcats of the tests have no /up.jsp.
        site.flip_unchecked(slot);
        assert_eq!(get(&site, "/").text(), format!("index of {name} query=null"));
        assert_eq!(get(&site, "/name.txt").text(), format!("slot={name}\n"));
        assert_eq!(get(&site, "/style.css;jsessionid=1").status(), 200);
        assert_eq!(redirect(&get(&site, "/own.jsp"), "own"), "/name.jsp");
        for path in
            ["/WEB-INF/web.xml", "/.git/config", "/name.jsp~", "/NAME.JSP", "/web-inf/notes.txt"]
        {
            assert_eq!(get(&site, path).status(), 404, "{path}");
        }
    }
}

/// Answers FastCGI with the name of the script that it is asked to run.
fn fpm(name: &'static str, socket: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let listener = UnixListener::bind(socket).unwrap();
    fs::set_permissions(socket, fs::Permissions::from_mode(0o666)).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut parameters = Vec::new();
            loop {
                let mut head = [0; 8];
                // A flip only checks for a listener, and sends nothing.
                if stream.read_exact(&mut head).is_err() {
                    break;
                }
                let length = usize::from(u16::from_be_bytes([head[4], head[5]]));
                let mut content = vec![0; length + usize::from(head[6])];
                stream.read_exact(&mut content).unwrap();
                match (head[1], length) {
                    (4, _) => parameters.extend_from_slice(&content[..length]),
                    (5, 0) => {
                        let script = value(&parameters, "SCRIPT_FILENAME").unwrap_or_default();
                        let body = format!("Content-Type: text/plain\r\n\r\n{name} runs {script}");
                        let record = |kind: u8, content: &[u8]| {
                            let size = (content.len() as u16).to_be_bytes();
                            [&[1, kind, 0, 1, size[0], size[1], 0, 0], content].concat()
                        };
                        let answer =
                            [record(6, body.as_bytes()), record(6, &[]), record(3, &[0; 8])];
                        stream.write_all(&answer.concat()).unwrap();
                        break;
                    }
                    _ => {}
                }
            }
        }
    });
}

/// Returns a parameter of FastCGI.
fn value(mut parameters: &[u8], name: &str) -> Option<String> {
    let length = |bytes: &mut &[u8]| -> Option<usize> {
        let first = *bytes.first()?;
        let (size, taken) = match first {
            0..128 => (usize::from(first), 1),
            _ => (u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?) as usize & 0x7fff_ffff, 4),
        };
        *bytes = &bytes[taken..];
        Some(size)
    };
    loop {
        let (of_name, of_value) = (length(&mut parameters)?, length(&mut parameters)?);
        let (found, rest) = parameters.split_at_checked(of_name)?;
        let (value, rest) = rest.split_at_checked(of_value)?;
        if found == name.as_bytes() {
            return Some(String::from_utf8_lossy(value).into_owned());
        }
        parameters = rest;
    }
}

#[test]
fn a_site_with_php_fpm_runs_scripts_and_shows_none() {
    let mut site = Site::new().with(&["negotiation", "autoindex", "proxy_fcgi"]);
    let root = site.path().display().to_string();
    for slot in ["blue", "green"] {
        for file in [
            "index.php",
            "deep/page.php",
            "index.php~",
            "page.php.bak",
            "config.inc",
            "app.phar",
            "page.phtml",
            ".env",
            ".git/config.txt",
            "dump.sql",
        ] {
            site.write(&format!("home/{slot}/{file}"), &format!("<?php echo '{slot}'; ?>"));
        }
        site.write(&format!("home/{slot}/style.css"), &format!("slot={slot}"));
        site.write(&format!("home/{slot}/photo.jpg"), "photo <?php evil(); ?>");
        site.write(&format!("home/{slot}/.keep"), "");
        fpm(slot, &site.path().join(format!("app-{slot}.sock")));
    }
    let block = site_of("php-fpm")
        .replace("/run/php/", &format!("{root}/"))
        .replace("/srv/php", &format!("{root}/home"))
        .replace("*:80>", &format!("*:{}>", site.address.port()));
    site.start(&format!("{DEBIAN}{block}"));
    let get = |path: &str| site.ask("GET", path, &["Host: php.example.com"]);
    for slot in ["blue", "green"] {
        site.run(&["flip", "php", slot]);
        for (path, script) in [
            ("/", "index.php"),
            ("/index.php", "index.php"),
            ("/index.php/path/info", "index.php"),
            ("/deep/page.php?x", "deep/page.php"),
        ] {
            let text = get(path).text();
            let (name, script_file) = text
                .split_once(" runs ")
                .unwrap_or_else(|| panic!("{path}: {text}\n{}", site.log()));
            assert_eq!(name, slot, "{path}");
            assert!(
                script_file.ends_with(&format!("{root}/home/{slot}/{script}")),
                "{path}: {text}"
            );
        }
        assert_eq!(get("/style.css").text(), format!("slot={slot}"));
        for path in [
            "/index.php~",
            "/page.php.bak",
            "/config.inc",
            "/app.phar",
            "/page.phtml",
            "/.env",
            "/.git/config.txt",
            "/dump.sql",
            "/index.php~/x.php",
            "/index",
            "/config",
        ] {
            let answer = get(path);
            assert!(matches!(answer.status(), 403 | 404), "{path}: {answer:?}");
            assert!(!answer.text().contains("<?php"), "{path}");
        }
        // An image is no script, whatever follows its name.
        for path in ["/photo.jpg/x.php", "/photo.jpg%00.php"] {
            assert!(!get(path).text().contains(" runs "), "{path}");
        }
    }
}
