//! Cuts a file's text into documents before it is parsed.

/// The text of one document.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Chunk<'a> {
    /// Its text, with the `---` line that begins it.
    pub(super) text: &'a str,
    /// Line of the file on which the text begins, counted from 1.
    pub(super) line: u32,
}

/// The documents of `text`. What stands before a `---` belongs to the document
/// after it if it is only comments, directives or blank.
pub(super) fn documents(text: &str) -> impl Iterator<Item = Chunk<'_>> {
    let mut chunks = Vec::new();
    let (mut start, mut start_line) = (0, 1);
    let mut has_content = false;
    let mut offset = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let number = index as u32 + 1;
        if is_marker(line, "---") {
            if has_content {
                chunks.push(Chunk { text: &text[start..offset], line: start_line });
                (start, start_line) = (offset, number);
            }
            has_content = says_something(&line[3..]);
        } else if is_marker(line, "...") {
            if has_content {
                chunks.push(Chunk { text: &text[start..offset], line: start_line });
            }
            (start, start_line) = (offset + line.len(), number + 1);
            has_content = false;
        } else {
            has_content |= says_something(line) && !line.starts_with('%');
        }
        offset += line.len();
    }
    if has_content {
        chunks.push(Chunk { text: &text[start..], line: start_line });
    }
    chunks.into_iter()
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\n', '\r']))
}

fn says_something(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}
