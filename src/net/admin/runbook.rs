//! GET /runbook: what to do about each alert; alerts link to it.

use axum::response::{IntoResponse, Response};

use super::dashboard::headers;

const RUNBOOK: &str = include_str!("../../../docs/runbook.md");

pub(super) async fn runbook() -> Response {
    (headers("text/html; charset=utf-8"), page(RUNBOOK)).into_response()
}

/// The text as it is written, with a place to link to at each heading. It is read in a terminal's browser too.
fn page(text: &str) -> String {
    let mut sections = text.split("\n## ");
    let (title, introduction) = sections.next().unwrap_or_default().split_once('\n').unwrap_or_default();
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>respguard: runbook</title>\n<link rel=\"icon\" href=\"data:,\">\n<link rel=\"stylesheet\" href=\"/dashboard/style.css\">\n\
         </head>\n<body class=\"text\">\n<h1>{}</h1>\n<div>{}</div>\n",
        escaped(title.trim_start_matches("# ")),
        escaped(introduction.trim())
    );
    for section in sections {
        let (heading, body) = section.split_once('\n').unwrap_or((section, ""));
        let place = heading.to_lowercase();
        page += &format!(
            "<section>\n<h2 id=\"{}\">{}</h2>\n<div>{}</div>\n</section>\n",
            escaped(&place),
            escaped(heading),
            escaped(body.trim())
        );
    }
    page + "</body>\n</html>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_heading_is_a_place_to_link_to_and_text_is_no_markup() {
        let page = page("# Runbook\n\nFirst <b>.\n\n## RespguardDown\n\nLook at `a > b`.\n\n## Other\n\nx\n");
        for wanted in [
            "<h1>Runbook</h1>\n<div>First &lt;b&gt;.</div>",
            "<h2 id=\"respguarddown\">RespguardDown</h2>\n<div>Look at `a &gt; b`.</div>",
            "<h2 id=\"other\">Other</h2>",
        ] {
            assert!(page.contains(wanted), "{wanted} in {page}");
        }
    }

    #[test]
    fn every_heading_of_the_runbook_has_its_place() {
        let page = page(RUNBOOK);
        for heading in RUNBOOK.lines().filter_map(|line| line.strip_prefix("## ")) {
            assert!(page.contains(&format!("<h2 id=\"{}\">", heading.to_lowercase())), "{heading}");
        }
    }
}
