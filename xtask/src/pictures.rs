//! The page of `overlapped pitfalls` as people see it: at two widths, in light and in dark, taken by a browser without
//! a window. Whether it is beautiful is for eyes to say; the pictures are in `target/pictures`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::bounded::{self, Failure};
use crate::{packages, place};

const BUILD: Duration = Duration::from_secs(1800);
const PAGE: Duration = Duration::from_secs(60);
const PICTURE: Duration = Duration::from_secs(180);
/// A phone and a desktop, in CSS pixels; one exhibit fits in the height.
const SCREENS: [Screen; 2] = [
    Screen { name: "phone", width: 390, height: 3600 },
    Screen { name: "desktop", width: 1280, height: 1900 },
];
/// As Blink numbers them.
const SCHEMES: [(&str, u8); 2] = [("dark", 0), ("light", 1)];

struct Screen {
    name: &'static str,
    width: u32,
    height: u32,
}

/// Of the exhibits that are named, or of each, and of the head of the page that has all of them.
pub(crate) fn run(install: bool, named: &[&str]) -> Result<(), Failure> {
    if install {
        packages::update()?;
        packages::install(&["chromium"])?;
    }
    let place = place::target("pictures");
    std::fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;
    let program = program()?;
    let mut taken = 0;
    let named = named.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for name in if named.is_empty() { names(&program)? } else { named } {
        let page = place.join(format!("{name}.html"));
        draw(&program, &name, &page)?;
        for screen in &SCREENS {
            for (scheme, number) in SCHEMES {
                let picture = place.join(format!("{name}-{}-{scheme}.png", screen.name));
                take(&page, &picture, &place, (screen.width, screen.height), number)?;
                taken += 1;
            }
        }
    }
    println!("{taken} pictures in {}", place.display());
    Ok(())
}

const ALL: &str = "all";

/// The program, built as everybody builds it.
fn program() -> Result<PathBuf, Failure> {
    let mut build = place::cargo();
    build.args(["build", "--quiet", "--locked", "--package", "overlapped-cli", "--bin", "overlapped"]);
    build.arg("--message-format=json-render-diagnostics");
    let (lines, _) = bounded::lines_of(&mut build, BUILD, |_| false)?;
    lines.iter().find_map(|line| place::program_in(line)).ok_or_else(|| "no program was built".to_owned())
}

/// Every exhibit, and all of them on one page.
fn names(program: &Path) -> Result<Vec<String>, Failure> {
    let (lines, _) = bounded::lines_of(Command::new(program).arg("pitfalls"), PAGE, |_| false)?;
    let listed = lines.iter().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with(' '));
    let names = listed.filter_map(|line| line.split_whitespace().next()).map(str::to_owned);
    Ok(names.chain([ALL.to_owned()]).collect())
}

fn draw(program: &Path, name: &str, page: &Path) -> Result<(), Failure> {
    let mut command = Command::new(program);
    command.arg("pitfalls").arg(if name == ALL { "--all" } else { name }).arg("--html").arg(page);
    bounded::run(command.stdout(Stdio::null()), PAGE)
}

fn take(
    page: &Path,
    picture: &Path,
    place: &Path,
    (width, height): (u32, u32),
    scheme: u8,
) -> Result<(), Failure> {
    // Of one picture alone: a browser that finds another's lock hands its page over to it.
    let profile = place.join("profile");
    let _ = std::fs::remove_dir_all(&profile);
    let _ = std::fs::remove_file(picture);
    let mut browser = Command::new("chromium");
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    browser.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    browser.arg("--hide-scrollbars").arg(format!("--user-data-dir={}", profile.display()));
    browser.arg(format!("--blink-settings=preferredColorScheme={scheme}"));
    browser.arg(format!("--window-size={width},{height}"));
    browser.arg(format!("--screenshot={}", picture.display())).arg(format!("file://{}", page.display()));
    let taken = bounded::run(browser.stdout(Stdio::null()).stderr(Stdio::null()), PICTURE);
    let _ = std::fs::remove_dir_all(&profile);
    taken.map_err(|error| {
        format!("{error}; `cargo xtask pictures --install` as root installs Debian's chromium")
    })?;
    if picture.exists() { Ok(()) } else { Err(format!("no picture: {}", picture.display())) }
}
