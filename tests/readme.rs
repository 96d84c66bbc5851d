//! Holds the README's figures to the results.
//!
//! A figure that comes from a result carries a marker, which the reader does not see: `91.2 %<!--demo:ddpm_success_mean-->`
//! is the claim `ddpm_success_mean` of `docs/results/demo.json`, shown as a percentage to one decimal. A figure that is a
//! definition, such as a confidence level, is marked `95 %<!--fixed-->`. In the section `## Results` every percentage and every
//! decimal number must be marked; code is exempt.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// The claims that the project promises, by file of `docs/results`.
const PROMISED: [(&str, &[&str]); 9] = [
    (
        "demo",
        &[
            "ddpm_success_mean",
            "ddpm_success_min",
            "rti_success_mean",
            "rti_nfe_mean",
            "rti_over_ddpm_decode_time",
            "cold_ddim_success_mean",
        ],
    ),
    (
        "sim_speed",
        &[
            "physics_speedup_over_pybullet",
            "render64_speedup",
            "render84_speedup",
            "render200_speedup",
            "control_step_speedup",
            "core_scaling",
            "bytes_per_world",
        ],
    ),
    (
        "decode_engine",
        &[
            "bf16_over_openvino_bf16_4m6",
            "bf16_over_openvino_bf16_16m6",
            "bf16_over_openvino_bf16_63m6",
            "f32_over_openvino_f32_4m6",
            "f32_over_openvino_f32_16m6",
            "f32_over_openvino_f32_63m6",
            "mlp512_over_tch",
            "batch8_over_batch1",
            "bandwidth_share_63m6",
            "replan_hz_4m6_rti3",
            "replan_hz_63m6_rti3",
        ],
    ),
    (
        "decode_success",
        &[
            "ddpm",
            "rti",
            "rti_nfe_mean",
            "rti_exit",
            "rti_exit_nfe_mean",
            "rti_draft",
            "cold_ddim",
            "bf16_minus_f32",
            "int8_minus_f32",
            "delay4_inpaint_drop",
            "delay4_plain_drop",
        ],
    ),
    (
        "dreams_main",
        &[
            "base_mean",
            "tuned_mean",
            "tasks_improved",
            "min_gain",
            "environment_steps",
            "minutes_world_model",
            "minutes_finetune_per_task",
        ],
    ),
    ("dreams_fast", &["tuned_full", "tuned_rti"]),
    ("dreams_speed", &["imagined_steps_over_sim_steps_with_cameras", "world_model_updates_over_pytorch"]),
    ("experts", &["tasks", "expert_success_mean", "expert_success_min"]),
    ("lh_mtlc_expert", &["average_length", "chains"]),
];

const FIXED: &str = "fixed";

#[derive(Debug, Clone, PartialEq)]
struct Figure {
    /// As printed, e.g. `91.2 %`.
    printed: String,
    /// 1-based line of the README.
    line: usize,
    /// What stands in the marker behind it: `file:claim`, or `fixed`.
    marker: Option<String>,
}

impl Figure {
    fn is_percentage(&self) -> bool {
        self.printed.ends_with('%')
    }

    fn digits(&self) -> &str {
        self.printed.trim_end_matches('%').trim_end()
    }

    /// Whether a claim, rounded as this figure is printed, gives this figure.
    fn shows(&self, claim: f64) -> bool {
        let Ok(printed) = self.digits().parse::<f64>() else { return false };
        let decimals = self.digits().split_once('.').map_or(0, |(_, decimals)| decimals.len());
        let value = if self.is_percentage() { 100.0 * claim } else { claim };
        // A value half-way between two roundings may be printed either way.
        (printed - value).abs() <= 0.5 * 10f64.powi(-(decimals as i32)) + 1e-9
    }
}

/// Finds numbers, with the percent sign and the marker that follow them. Words that contain digits are not numbers, nor is
/// anything in backquotes, in fenced code, or in a link's address.
fn figures(text: &str) -> Vec<Figure> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            figures_in_line(&without_code(line), index + 1, &mut found);
        }
    }
    found
}

/// The line with code and link addresses blanked out.
fn without_code(line: &str) -> String {
    let mut code = false;
    let prose: String = line
        .chars()
        .map(|c| {
            code ^= c == '`';
            if code || c == '`' { '_' } else { c }
        })
        .collect();
    let mut out = String::new();
    let mut rest = prose.as_str();
    while let Some((before, after)) = rest.split_once("](") {
        out.push_str(before);
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    out + rest
}

fn figures_in_line(line: &str, number: usize, found: &mut Vec<Figure>) {
    let mut rest = line;
    let mut previous = ' ';
    while let Some(first) = rest.chars().next() {
        if let Some(comment) = rest.strip_prefix("<!--") {
            rest = comment.split_once("-->").map_or("", |(_, after)| after);
            previous = ' ';
            continue;
        }
        let in_word = previous.is_alphanumeric() || previous == '_' || previous == '.';
        if !first.is_ascii_digit() || in_word {
            previous = first;
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '.' || c == '_')).map_or(rest, |end| &rest[..end]);
        let word = word.trim_end_matches('.');
        previous = word.chars().last().unwrap_or(' ');
        rest = &rest[word.len()..];
        if word.parse::<f64>().is_err() {
            continue;
        }
        let after = rest.trim_start_matches([' ', '\u{a0}']);
        let percent = after.starts_with('%');
        let (printed, after) = if percent { (format!("{word} %"), &after[1..]) } else { (word.to_owned(), rest) };
        let marker =
            after.strip_prefix("<!--").and_then(|comment| comment.split_once("-->")).map(|(marker, _)| marker.trim().to_owned());
        found.push(Figure { printed, line: number, marker });
    }
}

fn read_json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("README.md")
}

#[test]
fn marked_figures_equal_their_claims() {
    for figure in figures(&readme()) {
        let Some(marker) = figure.marker.as_deref().filter(|marker| *marker != FIXED) else { continue };
        let place = format!("README.md:{}: {}<!--{marker}-->", figure.line, figure.printed);
        let (file, claim) = marker.split_once(':').unwrap_or_else(|| panic!("{place}: a marker is `file:claim` or `{FIXED}`"));
        let results = read_json(&root().join(format!("docs/results/{file}.json")));
        let value = results["claims"][claim].as_f64().unwrap_or_else(|| panic!("{place}: no such claim"));
        assert!(figure.shows(value), "{place}: the claim is {value}");
    }
}

#[test]
fn no_figure_of_the_results_is_without_a_marker() {
    let text = readme();
    let lines: Vec<&str> = text.lines().collect();
    let start = lines.iter().position(|line| line.trim() == "## Results").expect("a section `## Results`");
    let end = lines[start + 1..].iter().position(|line| line.starts_with("## ")).map_or(lines.len(), |next| start + 1 + next);
    let section = start + 1..=end;
    for figure in figures(&text).iter().filter(|figure| section.contains(&figure.line)) {
        let needs_marker = figure.is_percentage() || figure.printed.contains('.');
        assert!(!needs_marker || figure.marker.is_some(), "README.md:{}: {} has no marker", figure.line, figure.printed);
    }
}

#[test]
fn every_marker_stands_behind_a_figure() {
    let text = readme();
    let written = text.matches("<!--").count();
    let read = figures(&text).iter().filter(|figure| figure.marker.is_some()).count();
    assert_eq!(
        written, read,
        "a comment in README.md that does not follow a figure directly is not checked: correct or remove it"
    );
}

#[test]
fn every_result_says_how_it_was_made() {
    let folder = root().join("docs/results");
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("docs/results") {
        let path = entry.expect("an entry of docs/results").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        count += 1;
        let results = read_json(&path);
        for key in ["command", "commit", "date", "machine"] {
            let there = match &results[key] {
                Value::String(text) => !text.trim().is_empty(),
                Value::Object(fields) => !fields.is_empty(),
                _ => false,
            };
            assert!(there, "{}: `{key}` is missing", path.display());
        }
        let claims = results["claims"].as_object().unwrap_or_else(|| panic!("{}: `claims` is missing", path.display()));
        for (claim, value) in claims {
            let value = value.as_f64().unwrap_or_else(|| panic!("{}: `{claim}` is no number", path.display()));
            let is_share = claim.contains("success");
            assert!(!is_share || (0.0..=1.0).contains(&value), "{}: `{claim}` is {value}, a share is 0-1", path.display());
        }
    }
    assert!(count > 0, "no results in {}", folder.display());
}

#[test]
fn the_promised_claims_are_made() {
    for (file, claims) in PROMISED {
        let results = read_json(&root().join(format!("docs/results/{file}.json")));
        for claim in claims {
            assert!(results["claims"][claim].is_number(), "docs/results/{file}.json: no claim `{claim}`");
        }
    }
}

#[test]
fn figures_are_found_in_prose_and_not_in_code() {
    let text = "Mean 91.2 %<!--demo:a--> and 3<!--demo:b-->, at 95 %<!--fixed-->.\n\
        `12.5 %` rapier3d 0.36.3 [x](a/1.5) v1.5\n```\n7 %\n```\n| 88% | 1.25 |";
    let figure =
        |printed: &str, line, marker: Option<&str>| Figure { printed: printed.into(), line, marker: marker.map(str::to_owned) };
    let expected = [
        figure("91.2 %", 1, Some("demo:a")),
        figure("3", 1, Some("demo:b")),
        figure("95 %", 1, Some("fixed")),
        figure("88 %", 6, None),
        figure("1.25", 6, None),
    ];
    assert_eq!(figures(text), expected);
}

#[test]
fn a_figure_is_compared_at_its_printed_precision() {
    let figure = |printed: &str| Figure { printed: printed.into(), line: 1, marker: None };
    assert!(figure("91.2 %").shows(0.91185));
    assert!(!figure("91.2 %").shows(0.9111));
    assert!(figure("91 %").shows(0.914) && !figure("91 %").shows(0.9151));
    assert!(figure("0.07").shows(0.0689) && !figure("0.07").shows(0.08));
    assert!(figure("3").shows(3.4) && !figure("3.0").shows(3.4));
}
