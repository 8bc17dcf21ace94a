//! What is advised in which situation: one row a case.

use super::*;
use crate::cli::access::mount::Listed;

fn entry(path: &str, owner: &str, group: &str, group_number: u32, mode: u32) -> Entry {
    Entry { path: path.into(), owner: owner.into(), group: group.into(), group_number, mode }
}

fn mount(point: &str, kind: &str, listed: Option<&str>) -> Mount {
    Mount {
        point: point.into(),
        kind: kind.into(),
        source: "/dev/sdb1".into(),
        options: "rw".into(),
        listed: listed.map(|options| Listed { options: options.into() }),
    }
}

fn blocked(obstacle: Obstacle) -> Sight {
    Sight { obstacle: Some(obstacle), ..Sight::default() }
}

fn clear() -> Sight {
    Sight { films: 3, ..Sight::default() }
}

struct Case {
    path: &'static str,
    seen: Sight,
    let_in: Option<Sight>,
    way: Vec<Entry>,
    unreadable: Option<Entry>,
    mount: Option<Mount>,
    stands: bool,
    others: Vec<PathBuf>,
}

impl Case {
    fn new(path: &'static str, seen: Sight) -> Case {
        Case {
            path,
            seen,
            let_in: None,
            way: Vec::new(),
            unreadable: None,
            mount: Some(mount("/", "ext4", Some("defaults"))),
            stands: false,
            others: Vec::new(),
        }
    }

    /// The remedies in short: the text of a drop-in, or the lines of commands; '?' before what is only useful.
    fn advised(&self) -> Vec<String> {
        let situation = Situation {
            path: Path::new(self.path),
            account: "reelway",
            groups: &[900],
            seen: &self.seen,
            let_in: self.let_in.as_ref(),
            way: &self.way,
            unreadable: self.unreadable.as_ref(),
            mount: self.mount.as_ref(),
            has_unit: true,
            has_drop_in: self.stands,
            others: &self.others,
        };
        let short = |remedy: Remedy| {
            assert!(remedy.explanation.ends_with('.'), "a sentence: {}", remedy.explanation);
            let mark = if remedy.is_needed { "" } else { "?" };
            let text = match remedy.cure {
                Cure::DropIn(text) => text,
                Cure::Commands { commands, .. } => {
                    commands.iter().map(|words| shell_line(words)).collect::<Vec<_>>().join("\n")
                }
                Cure::ByHand(steps) => steps.join("\n"),
            };
            format!("{mark}{text}")
        };
        advise(&situation).into_iter().map(short).collect()
    }
}

#[test]
fn what_is_seen_needs_nothing() {
    assert_eq!(Case::new("/srv/films", clear()).advised(), [""; 0]);
}

#[test]
fn a_folder_of_a_home_is_let_into_the_sandbox_and_nothing_beside_it() {
    let mut case = Case::new("/home/ann/My Videos", blocked(Obstacle::Missing("/home/ann".into())));
    case.let_in = Some(clear());
    case.way = vec![entry("/home/ann", "ann", "ann", 1000, 0o700)];
    let expected = "[Service]\nProtectHome=tmpfs\nBindReadOnlyPaths=\"-/home/ann/My Videos\"\n";
    assert_eq!(case.advised(), [expected], "the closed home needs no opening");
    case.others = vec!["/home/bob/Films".into()];
    assert_eq!(case.advised(), [format!("{expected}BindReadOnlyPaths=\"-/home/bob/Films\"\n")]);
    case.mount = Some(mount("/home", "ext4", Some("defaults")));
    case.others.clear();
    assert_eq!(case.advised(), [format!("[Unit]\nRequiresMountsFor=\"/home/ann/My Videos\"\n{expected}")]);
    (case.stands, case.seen, case.let_in) = (true, clear(), None);
    assert_eq!(case.advised(), [""; 0], "what stands already is not written again");
}

#[test]
fn what_is_still_closed_inside_is_opened_as_well() {
    let mut case = Case::new("/home/ann/Videos", blocked(Obstacle::Missing("/home/ann".into())));
    case.let_in = Some(blocked(Obstacle::NotReadable("/home/ann/Videos".into())));
    case.way = vec![entry("/home/ann/Videos", "ann", "ann", 1000, 0o700)];
    assert_eq!(
        case.advised(),
        [
            "[Service]\nProtectHome=tmpfs\nBindReadOnlyPaths=\"-/home/ann/Videos\"\n",
            "setfacl -R -m u:reelway:rX -m d:u:reelway:rX /home/ann/Videos",
        ]
    );
}

#[test]
fn a_closed_way_is_opened_for_passing_through_only() {
    let mut case = Case::new("/data/ann/private/films", blocked(Obstacle::NotSearchable("/data/ann".into())));
    case.way = vec![
        entry("/data", "root", "root", 0, 0o755),
        entry("/data/ann", "ann", "ann", 1000, 0o700),
        entry("/data/ann/private", "ann", "ann", 1000, 0o750),
        entry("/data/ann/private/films", "ann", "ann", 1000, 0o700),
    ];
    assert_eq!(
        case.advised(),
        ["setfacl -m u:reelway:x /data/ann\nsetfacl -m u:reelway:x /data/ann/private"],
        "the library itself is looked at once it can be reached"
    );
    case.let_in = Some(case.seen.clone());
    assert_eq!(case.advised().len(), 1, "a drop-in that does not help is not advised");
}

#[test]
fn a_group_for_sharing_is_joined_and_a_private_one_is_not() {
    let at = "/srv/films";
    let listed = "setfacl -R -m u:reelway:rX -m d:u:reelway:rX /srv/films";
    for (entry, expected) in [
        (entry(at, "root", "media", 44, 0o2750), "usermod -aG media reelway"),
        (entry(at, "root", "users", 100, 0o750), "usermod -aG users reelway"),
        (entry(at, "ann", "family", 1005, 0o750), "usermod -aG family reelway"),
        // A film in a group that is as good as root makes nobody a member of it.
        (entry(at, "root", "docker", 998, 0o750), listed),
        (entry(at, "ann", "docker", 1001, 0o750), listed),
        (entry(at, "root", "lxd", 110, 0o750), listed),
        (entry(at, "root", "disk", 6, 0o750), listed),
        (entry(at, "root", "sudo", 27, 0o750), listed),
        (entry(at, "root", "shadow", 42, 0o750), listed),
        (entry(at, "root", "adm", 4, 0o750), listed),
        (entry(at, "root", "nogroup", 65534, 0o750), listed),
        (entry(at, "ann", "ann", 1000, 0o750), "setfacl -R -m u:reelway:rX -m d:u:reelway:rX /srv/films"),
        (entry(at, "ann", "root", 0, 0o750), "setfacl -R -m u:reelway:rX -m d:u:reelway:rX /srv/films"),
        (entry(at, "root", "media", 44, 0o700), "setfacl -R -m u:reelway:rX -m d:u:reelway:rX /srv/films"),
        (entry(at, "root", "reelway", 900, 0o750), "setfacl -R -m u:reelway:rX -m d:u:reelway:rX /srv/films"),
    ] {
        let mut case = Case::new(at, blocked(Obstacle::NotReadable(at.into())));
        case.way = vec![entry.clone()];
        assert_eq!(case.advised(), [expected], "{entry:?}");
    }
}

#[test]
fn films_that_are_closed_in_an_open_folder_are_opened() {
    let seen = Sight { films: 9, unreadable_count: 2, unreadable: vec!["/srv/films/a.mkv".into()], ..Sight::default() };
    let mut case = Case::new("/srv/films", seen);
    case.way = vec![entry("/srv/films", "root", "root", 0, 0o755)];
    case.unreadable = Some(entry("/srv/films/a.mkv", "ann", "ann", 1000, 0o600));
    assert_eq!(case.advised(), ["setfacl -R -m u:reelway:rX -m d:u:reelway:rX /srv/films"]);
    case.unreadable = Some(entry("/srv/films/a.mkv", "ann", "media", 44, 0o640));
    assert_eq!(case.advised(), ["usermod -aG media reelway"]);
}

#[test]
fn the_service_waits_for_a_disk_and_does_without_one_that_may_be_away() {
    for (listed, expected) in [
        (Some("defaults"), "?[Unit]\nRequiresMountsFor=\"/mnt/films/all\"\n"),
        (Some("defaults,nofail"), "?[Unit]\nWants=mnt-films.mount\nAfter=mnt-films.mount\n"),
        (None, "?[Unit]\nWants=mnt-films.mount\nAfter=mnt-films.mount\n"),
    ] {
        let mut case = Case::new("/mnt/films/all", clear());
        case.mount = Some(mount("/mnt/films", "ext4", listed));
        assert_eq!(case.advised(), [expected], "{listed:?}");
    }
}

#[test]
fn a_disk_that_knows_no_owners_is_mounted_otherwise() {
    let mut case = Case::new("/mnt/usb", blocked(Obstacle::NotSearchable("/mnt/usb".into())));
    case.stands = true;
    case.way = vec![entry("/mnt/usb", "root", "root", 0, 0o700)];
    case.mount = Some(mount("/mnt/usb", "vfat", None));
    assert_eq!(case.advised(), ["umount /mnt/usb && mount -o gid=reelway,umask=0027 /dev/sdb1 /mnt/usb"]);
    case.mount = Some(mount("/mnt/usb", "exfat", Some("nofail,umask=077,uid=ann")));
    assert_eq!(
        case.advised(),
        ["put these options on the line of /mnt/usb in /etc/fstab: nofail,gid=reelway,umask=0027\n\
              umount /mnt/usb && mount /mnt/usb"]
    );
    // What is in the way may lie above the disk.
    let mut above = Case::new("/media/ann/usb", blocked(Obstacle::NotSearchable("/media/ann".into())));
    above.stands = true;
    above.mount = Some(mount("/media/ann/usb", "vfat", None));
    above.way = vec![entry("/media/ann", "root", "root", 0, 0o750)];
    assert_eq!(above.advised(), ["setfacl -m u:reelway:x /media/ann"]);
}

#[test]
fn a_server_decides_about_its_folders() {
    let mut case = Case::new("/mnt/nas/films", blocked(Obstacle::NotReadable("/mnt/nas/films".into())));
    case.stands = true;
    for (kind, expected) in [("nfs4", "id -u reelway"), ("cifs", "uid=reelway,forceuid")] {
        case.mount = Some(mount("/mnt/nas", kind, Some("defaults")));
        assert!(case.advised()[0].contains(expected), "{kind}: {:?}", case.advised());
    }
}

#[test]
fn nothing_opens_what_is_not_there() {
    assert_eq!(Case::new("/srv/films", blocked(Obstacle::Missing("/srv/films".into()))).advised(), [""; 0]);
    assert_eq!(Case::new("/srv/film", blocked(Obstacle::NotAFolder("/srv/film".into()))).advised(), [""; 0]);
}

#[test]
fn a_command_is_one_a_shell_reads_back() {
    let words = ["setfacl", "-m", "u:reelway:x", "/home/ann/It's here"].map(str::to_owned);
    assert_eq!(shell_line(&words), "setfacl -m u:reelway:x '/home/ann/It'\\''s here'");
}
