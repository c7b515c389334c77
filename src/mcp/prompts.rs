//! The prompts of `prompts/`, compiled in.
//!
//! A prompt is a Markdown file: its title, one paragraph that says what it is for, the rest. Placeholders such as
//! `<EXECUTION>` are the prompt's arguments; one that is not given stays as it stands.

use rmcp::model::{JsonObject, Prompt, PromptArgument};

/// Name and text of each prompt.
const PROMPTS: [(&str, &str); 8] = [
    (
        "find_errors_in_execution",
        include_str!("../../prompts/queries/find_errors_in_execution.md"),
    ),
    (
        "analyze_performance_trends",
        include_str!("../../prompts/queries/analyze_performance_trends.md"),
    ),
    (
        "extract_learnings",
        include_str!("../../prompts/queries/extract_learnings.md"),
    ),
    (
        "error_recovery_pattern",
        include_str!("../../prompts/patterns/error_recovery_pattern.md"),
    ),
    (
        "performance_optimization",
        include_str!("../../prompts/patterns/performance_optimization.md"),
    ),
    (
        "debugging_workflow",
        include_str!("../../prompts/patterns/debugging_workflow.md"),
    ),
    (
        "using_logger_agent",
        include_str!("../../prompts/guides/using_logger_agent.md"),
    ),
    ("best_practices", include_str!("../../prompts/guides/best_practices.md")),
];

/// Placeholders with what they stand for.
const ARGUMENTS: [(&str, &str); 4] = [
    ("EXECUTION", "An execution's id, or last"),
    ("SCRIPT", "A script's name"),
    ("KEY", "An event's key"),
    ("ERROR", "An error's text"),
];

/// All prompts as the protocol lists them.
pub fn all() -> Vec<Prompt> {
    PROMPTS
        .iter()
        .map(|(name, text)| {
            let arguments: Vec<PromptArgument> = ARGUMENTS
                .iter()
                .filter(|(placeholder, _)| text.contains(&format!("<{placeholder}>")))
                .map(|(placeholder, about)| {
                    PromptArgument::new(placeholder.to_lowercase())
                        .with_description(*about)
                        .with_required(false)
                })
                .collect();
            let arguments = (!arguments.is_empty()).then_some(arguments);
            Prompt::new(*name, Some(about(text)), arguments)
        })
        .collect()
}

/// What a prompt is for, and its text with the arguments put in.
pub fn text(name: &str, given: &JsonObject) -> Option<(String, String)> {
    let (_, text) = PROMPTS.iter().find(|(n, _)| *n == name)?;
    let mut out = (*text).to_owned();
    for (placeholder, _) in ARGUMENTS {
        if let Some(value) = given.get(&placeholder.to_lowercase()).and_then(|v| v.as_str()) {
            out = out.replace(&format!("<{placeholder}>"), value);
        }
    }
    Some((about(text), out))
}

/// The first paragraph below the title.
fn about(text: &str) -> String {
    let mut lines = text.lines().skip_while(|l| l.starts_with('#') || l.trim().is_empty());
    let paragraph: Vec<&str> = lines.by_ref().take_while(|l| !l.trim().is_empty()).collect();
    paragraph.join(" ")
}
