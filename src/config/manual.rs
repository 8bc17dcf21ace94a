//! reelway.toml(5): the option table as a page of the manual, in man(7)'s words.

use super::option_table::SECTIONS;
use super::show::{facts, rows, sample_value};

/// The page's source.
pub fn manual() -> String {
    let mut page = format!(".TH reelway.toml 5 \"\" \"reelway {}\" reelway\n{HEAD}", env!("CARGO_PKG_VERSION"));
    for (section, description) in SECTIONS {
        page.push_str(&format!(".SH [{}]\n{}\n", escaped(section), escaped(description)));
        for row in rows(section) {
            let (name, value) = (escaped(row.name()), escaped(sample_value(row)));
            let (description, facts) = (escaped(row.description), escaped(&facts(row)));
            page.push_str(&format!(".TP\n\\fB{name}\\fR = {value}\n{description}\n.br\n{facts}\n"));
        }
    }
    page.push_str(SEE_ALSO);
    page
}

const HEAD: &str = r#".SH NAME
reelway.toml \- the configuration of reelway(1)
.SH SYNOPSIS
.nf
/etc/reelway/reelway.toml
/etc/reelway/conf.d/*.toml
.fi
.SH DESCRIPTION
TOML. Later ones win: the built\-in value, this file, conf.d/*.toml beside it by name, the environment, the command line; a
list takes the place of the one before it. Every key can also be set as REELWAY_SECTION__KEY, for example
REELWAY_SERVER__PORT; lists are then written as here. A key that is not known is an error.
.PP
.B reelway config check
says whether all is well,
.B reelway config show \-\-origin
what is in force and why.
.B systemctl reload reelway
has the running service read it again.
.PP
Each key stands here with its built\-in value or, where that is empty, an example.
"#;

const SEE_ALSO: &str = ".SH SEE ALSO\n.BR reelway (1),\n.BR systemd.exec (5)\n";

/// Text that roff takes for nothing but text: a line of it never begins with a request.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::option_table::OPTIONS;

    #[test]
    fn each_option_has_its_place_in_the_page() {
        let page = manual();
        for row in OPTIONS {
            let term = format!(".TP\n\\fB{}\\fR = ", escaped(row.name()));
            assert!(page.contains(&term), "{} is missing", row.key);
        }
        assert_eq!(page.matches(".TP\n").count(), OPTIONS.len());
    }

    #[test]
    fn no_text_becomes_a_request() {
        assert_eq!(escaped("'a' \\ b-c"), "\\&'a' \\e b\\-c");
        assert_eq!(escaped(".conf"), "\\&.conf");
    }
}
