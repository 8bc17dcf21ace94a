//! What is said of each state of the units, and of what the daemon answers.

use serde_json::json;

use super::super::finding::marked;
use super::*;

/// An installed service as `systemctl show` would print it, with changes.
fn facts(service: &str, socket: &str) -> Facts {
    let service = format!("LoadState=loaded\nUnitFileState=enabled\n{service}");
    let socket = format!("LoadState=loaded\nUnitFileState=enabled\nListen=[::]:3000 (Stream)\n{socket}");
    Facts { has_systemd: true, service: Unit::of(&service), socket: Unit::of(&socket), port: 3000, ..Facts::default() }
}

fn healthy() -> Facts {
    let mut facts = facts("ActiveState=active\nMainPID=77", "ActiveState=active");
    facts.health = Some(Ok(json!({"status": "ok", "version": env!("CARGO_PKG_VERSION"), "components": {}})));
    facts.admin_socket = Some(Ok(()));
    facts.lock_holder = Some(77);
    facts
}

#[test]
fn a_healthy_service_has_no_finding_to_act_on() {
    assert_eq!(marked(&judge(&healthy())), [""; 0]);
    assert_eq!(marked(&judge(&facts("ActiveState=inactive", "ActiveState=active"))), [""; 0]);
}

#[test]
fn each_state_of_the_units_has_its_finding() {
    for (service, socket, expected) in [
        ("ActiveState=inactive", "ActiveState=inactive", "!service.socket"),
        ("ActiveState=inactive", "ActiveState=failed\nResult=resources", "!service.socket"),
        ("ActiveState=failed\nResult=exit-code", "ActiveState=active", "!service.failed"),
        (
            "ActiveState=activating\nSubState=auto-restart\nResult=exit-code\nMainPID=0",
            "ActiveState=active",
            "!service.failed",
        ),
        ("ActiveState=activating\nSubState=auto-restart-queued", "ActiveState=active", "!service.failed"),
        ("ActiveState=active\nNeedDaemonReload=yes", "ActiveState=active", "!service.reload"),
    ] {
        assert_eq!(marked(&judge(&facts(service, socket))), [expected], "{service} {socket}");
    }
    for (kept, expected) in [(4096, None), (100, Some("!service.handover")), (0, Some("!service.handover"))] {
        let unit =
            format!("ActiveState=active\nMainPID=77\nEnvironment=A=b FDSTORE=4096\nFileDescriptorStoreMax={kept}");
        let found = marked(&judge(&facts(&unit, "ActiveState=active")));
        assert_eq!(found.first().map(String::as_str), expected, "{kept}");
    }
    let mut masked = healthy();
    masked.service = Unit::of("LoadState=masked");
    assert_eq!(marked(&judge(&masked)), ["!service.masked"]);
    let mut disabled = healthy();
    disabled.socket = Unit::of("LoadState=loaded\nUnitFileState=disabled\nActiveState=active");
    assert_eq!(marked(&judge(&disabled)), ["!service.disabled"]);
}

#[test]
fn a_systemd_that_does_not_answer_is_no_service_that_is_missing() {
    let mut facts = healthy();
    (facts.socket, facts.socket.is_silent) = (Unit::default(), true);
    assert_eq!(marked(&judge(&facts)), ["!service.unseen"]);
}

#[test]
fn an_instance_is_told_of_by_its_own_name() {
    let units = [
        ("ActiveState=failed\nResult=exit-code", "ActiveState=inactive"),
        ("ActiveState=activating\nSubState=auto-restart", "ActiveState=failed"),
        ("ActiveState=active\nMainPID=7\nEnvironment=FDSTORE=9\nFileDescriptorStoreMax=1", "NeedDaemonReload=yes"),
    ];
    for (service, socket) in units {
        let mut told = facts(service, socket);
        told.name = Name::of("reelway@3001");
        told.lock_holder = Some(12);
        told.stranger = Some("python3".to_owned());
        told.health = Some(Err("refused".to_owned()));
        for Finding { what, fix, .. } in judge(&told) {
            let words = format!("{what} {}", fix.unwrap_or_default());
            assert!(!words.contains("reelway.") && !words.contains("u reelway;"), "of the first: {words}");
        }
    }
    // A version is tried as an instance, and is another for a reason.
    let mut tried = healthy();
    tried.name = Name::of("reelway@3001");
    tried.health = Some(Ok(json!({"status": "ok", "version": "0.0.1"})));
    assert_eq!(marked(&judge(&tried)), ["service.version"]);
}

#[test]
fn the_last_error_is_the_reason_of_a_failure() {
    let mut failed = facts("ActiveState=failed\nResult=exit-code\nStatusText=draining", "ActiveState=active");
    failed.last_error = Some("the signing key has 3 bytes".to_owned());
    assert_eq!(judge(&failed)[0].why.as_deref(), Some("the signing key has 3 bytes"));
    failed.last_error = None;
    assert_eq!(judge(&failed)[0].why.as_deref(), Some("draining"));
    let unit = "ActiveState=activating\nSubState=auto-restart\nResult=signal\nNRestarts=12";
    let found = judge(&facts(unit, "ActiveState=active"));
    assert_eq!(found[0].what, "reelway.service has failed (signal), and was tried again 12 times");
    assert_eq!(found[0].why.as_deref(), Some("its result is signal"));
}

#[test]
fn a_start_that_takes_long_is_a_problem_once_it_is_too_long() {
    let found = |status: &str, seconds: u64| {
        let unit = format!("ActiveState=activating\nSubState=start\nMainPID=77\nStatusText={status}");
        let mut starting = facts(&unit, "ActiveState=active");
        starting.starting_for = Some(Duration::from_secs(seconds));
        marked(&judge(&starting))
    };
    assert_eq!(found("", 3), ["service.starting"]);
    assert_eq!(found("", 20), ["!service.starting"]);
    assert_eq!(found("Looking through the database", 20), ["service.starting"]);
    assert_eq!(found("Looking through the database", limits::START_PATIENCE.as_secs()), ["!service.starting"]);
}

#[test]
fn what_the_daemon_says_is_judged() {
    let say = |change: fn(&mut Facts)| {
        let mut facts = healthy();
        change(&mut facts);
        marked(&judge(&facts))
    };
    assert_eq!(say(|facts| facts.health = Some(Err("refused".into()))), ["!service.silent"]);
    assert_eq!(say(|facts| facts.health = Some(Ok(json!({"status": "ok", "version": "0.0.1"})))), ["!service.version"]);
    assert_eq!(say(|facts| facts.runs_replaced_file = true), ["!service.version"]);
    assert_eq!(say(|facts| facts.admin_socket = Some(Err("No such file".into()))), ["!service.admin"]);
    assert_eq!(
        say(|facts| facts.admin_socket = Some(Err("Permission denied (os error 13)".into()))),
        ["service.admin"]
    );
    assert_eq!(
        say(|facts| {
            let components = json!({"ring": {"status": "degraded", "detail": "x"}, "store": {"status": "degraded"}});
            facts.health =
                Some(Ok(json!({"status": "degraded", "version": env!("CARGO_PKG_VERSION"), "components": components})));
        }),
        ["kernel.ring", "!state.store"]
    );
}

#[test]
fn a_library_that_is_not_whole_is_looked_through_again() {
    let mut facts = healthy();
    let components = json!({"library": {"status": "degraded", "detail": "x"}});
    facts.health =
        Some(Ok(json!({"status": "degraded", "version": env!("CARGO_PKG_VERSION"), "components": components})));
    let found = judge(&facts);
    assert_eq!(marked(&found), ["!library.daemon"]);
    let fix = found.iter().find(|finding| finding.id == "library.daemon").unwrap().fix.clone().unwrap();
    assert!(fix.ends_with("then: reelway library scan"), "{fix}");
}

#[test]
fn strangers_on_the_port_and_in_the_state_are_named() {
    let mut facts = facts("ActiveState=inactive", "ActiveState=active");
    facts.stranger = Some("python3 (process 9)".to_owned());
    facts.lock_holder = Some(12);
    let found = judge(&facts);
    assert_eq!(marked(&found), ["!service.lock", "!service.port"]);
    assert!(found.iter().any(|finding| finding.what.contains("python3 (process 9)")));
}

#[test]
fn without_systemd_or_a_unit_it_is_a_note() {
    assert_eq!(marked(&judge(&Facts::default())), ["service.none"]);
}
