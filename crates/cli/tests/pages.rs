//! The pages of ports in a real browser: Debian's chromium, headless, against a real server process.
#![allow(clippy::unwrap_used)]

mod support;

use std::{fs, path::Path, process::Command};

use support::{Folder, Server, rest, triquest, wait};

/// A screenshot as rows of pixels.
struct Picture {
    width: usize,
    pixels: Vec<[u8; 3]>,
}

impl Picture {
    fn read(path: &Path) -> Self {
        let mut decoder = png::Decoder::new(std::io::BufReader::new(fs::File::open(path).unwrap()));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        let channels = info.color_type.samples();
        let pixels = bytes[..info.buffer_size()].chunks(channels).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
        Self { width: info.width as usize, pixels }
    }

    fn brightness(pixel: [u8; 3]) -> u32 {
        pixel.iter().map(|part| u32::from(*part)).sum::<u32>() / 3
    }

    /// The background: the pixel of the lower right corner.
    fn background(&self) -> [u8; 3] {
        *self.pixels.last().unwrap()
    }

    /// Pixels that differ clearly from the background.
    fn ink(&self) -> usize {
        let background = Self::brightness(self.background());
        self.pixels.iter().filter(|pixel| Self::brightness(**pixel).abs_diff(background) > 80).count()
    }

    /// Whether the last columns are background from top to bottom: nothing is wider than the window.
    fn has_a_clear_right_edge(&self) -> bool {
        let background = self.background();
        self.pixels.chunks(self.width).all(|row| row[self.width - 4..].iter().all(|pixel| *pixel == background))
    }
}

/// Takes a picture of a page, or says why not.
fn picture(folder: &Folder, name: &str, size: &str, dark: bool, url: &str) -> Option<Picture> {
    let file = folder.path().join(format!("{name}.png"));
    let scheme = if dark { "--blink-settings=preferredColorScheme=0" } else { "--blink-settings=preferredColorScheme=1" };
    let started = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"])
        .args(["--disable-component-update", "--disable-sync", "--hide-scrollbars", "--ignore-certificate-errors", scheme])
        .arg(format!("--user-data-dir={}", folder.path().join(format!("{name}-profile")).display()))
        .arg(format!("--window-size={size}"))
        .arg(format!("--screenshot={}", file.display()))
        .arg(url)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn();
    let Ok(mut browser) = started else {
        eprintln!("skipped: there is no chromium here (apt-get install chromium)");
        return None;
    };
    let code = wait(&mut browser);
    assert!(file.is_file(), "chromium ended with {code:?}: {}", rest(browser.stderr.take()));
    Some(Picture::read(&file))
}

#[test]
fn the_page_of_a_port_is_readable_in_light_and_dark_and_on_a_phone() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    for port in [1588, 27000, 60000] {
        let url = format!("https://127.0.0.1:{}/ports/{port}", server.port());
        let Some(light) = picture(&folder, "light", "1000,2400", false, &url) else { return };
        let dark = picture(&folder, "dark", "1000,2400", true, &url).unwrap();
        let phone = picture(&folder, "phone", "360,3600", false, &url).unwrap();
        assert!(Picture::brightness(light.background()) > 200 && Picture::brightness(dark.background()) < 60, "light and dark");
        for (name, picture) in [("light", &light), ("dark", &dark), ("phone", &phone)] {
            assert!(picture.ink() > 10_000, "{name}: nothing to read: {}", picture.ink());
            assert!(picture.has_a_clear_right_edge(), "{name}: something is wider than the window");
        }
        assert_eq!(phone.width, 360);
    }
}

/// Asks with curl: status, and where it leads.
fn curl(server: &Server, arguments: &[&str], path: &str) -> (String, String) {
    let output = Command::new("curl")
        .args(["-s", "-k", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}"])
        .args(arguments)
        .arg(format!("https://127.0.0.1:{}{path}", server.port()))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (status, to) = text.split_once(' ').unwrap();
    (status.to_owned(), to.to_owned())
}

#[test]
fn an_answer_to_was_this_helpful_is_counted_here_and_read_on_the_machine_only() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let form = |answer: &'static str| ["-d", answer];
    let (status, to) = curl(&server, &form("answer=yes"), "/ports/1588/feedback");
    assert_eq!(status, "303");
    assert!(to.ends_with("/ports/1588?thanks=1#helpful"), "{to}");
    assert_eq!(curl(&server, &form("answer=no"), "/ports/22/feedback").0, "303");
    // What a browser sends for the page's own form, and for one of nowhere.
    let own = format!("Origin: https://127.0.0.1:{}", server.port());
    let as_browser = ["-H", own.as_str(), "-H", "Sec-Fetch-Site: same-origin", "-d", "answer=yes"];
    assert_eq!(curl(&server, &as_browser, "/ports/443/feedback").0, "303");
    assert_eq!(curl(&server, &["-H", "Origin: null", "-d", "answer=yes"], "/ports/443/feedback").0, "403");
    let head = Command::new("curl")
        .args(["-s", "-k", "-D", "-", "-o", "/dev/null"])
        .arg(format!("https://127.0.0.1:{}/ports/443", server.port()))
        .output()
        .unwrap();
    let head = String::from_utf8(head.stdout).unwrap();
    assert!(head.contains("referrer-policy: same-origin"), "with `no-referrer` a browser calls the page's own origin null: {head}");
    for (arguments, wanted) in [
        (&["-d", "answer=perhaps"][..], "400"),
        (&["-d", "answer=yes&x=1"], "400"),
        (&["-H", "Content-Type: application/json", "-d", "{}"], "415"),
        (&["-H", "Origin: https://elsewhere.example", "-d", "answer=yes"], "403"),
        (&["-H", "Sec-Fetch-Site: cross-site", "-d", "answer=yes"], "403"),
    ] {
        assert_eq!(curl(&server, arguments, "/ports/1588/feedback").0, wanted, "{arguments:?}");
    }
    assert_eq!(curl(&server, &form("answer=yes"), "/ports/ssh/feedback").0, "404", "only ports have counts");
    assert_eq!(curl(&server, &[], "/v1/feedback").0, "403", "over the network nobody reads them");
    let shown = triquest(&folder, ["port", "--feedback", "--json"]).run().ok().stdout;
    let counts: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(counts["ports"][0], serde_json::json!({ "port": 22, "yes": 0, "partly": 0, "no": 1 }));
    assert_eq!(counts["ports"][1]["port"], 443);
    assert_eq!(counts["ports"][2], serde_json::json!({ "port": 1588, "yes": 1, "partly": 0, "no": 0 }));
}

#[test]
fn a_link_from_another_site_leads_to_a_page_and_nothing_else_does() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let link = ["-H", "Sec-Fetch-Site: cross-site", "-H", "Sec-Fetch-Mode: navigate", "-H", "Sec-Fetch-Dest: document"];
    assert_eq!(curl(&server, &link, "/ports/1588").0, "200");
    assert_eq!(curl(&server, &link, "/v1/ports/1588").0, "403", "data is for programs");
    let frame = ["-H", "Sec-Fetch-Site: cross-site", "-H", "Sec-Fetch-Mode: navigate", "-H", "Sec-Fetch-Dest: iframe"];
    assert_eq!(curl(&server, &frame, "/ports/1588").0, "403");
    assert_eq!(curl(&server, &["-H", "Sec-Fetch-Site: cross-site", "-H", "Sec-Fetch-Mode: no-cors"], "/ports/1588").0, "403");
    assert_eq!(curl(&server, &[], "/ports/1588?host=10.0.0.1").0, "400", "nobody is probed from a page");
    assert_eq!(curl(&server, &[], "/ports/65536").0, "400");
    assert_eq!(curl(&server, &[], "/ports/no-such-name").0, "404");
    assert_eq!(curl(&server, &[], "/ports?q=1588").0, "303");
}
