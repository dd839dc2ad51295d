//! A view's query as servers from 16 on print it: columns of a query's only table stand without the table's name there, and
//! with it in the print of older servers. So a view restored into a newer major version reads as it was.
//!
//! (`make_viewdef` in ruleutils.c: until 15 the rule's OLD and NEW counted as tables.)

/// The first version that prints so, as `server_version_num` says it.
pub const SINCE: u32 = 160_000;

/// Words that follow the one table of a query.
const AFTER_FROM: [&str; 10] = [
    "WHERE", "GROUP", "ORDER", "HAVING", "LIMIT", "OFFSET", "WINDOW", "FOR", "FETCH", ";",
];
/// Words that make more than one query of it.
const COMBINE: [&str; 4] = ["WITH", "UNION", "INTERSECT", "EXCEPT"];

/// The query, its only table's name taken away from the columns; as it is, where it has several.
pub fn without_prefix(query: &str) -> String {
    let tokens = tokens(query);
    let Some((item, prefix)) = only_table(&tokens) else {
        return query.to_owned();
    };
    let mut out = String::with_capacity(query.len());
    let mut subqueries = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let next = |n: usize| tokens.get(at + n).copied().unwrap_or_default();
        match *token {
            "(" => subqueries.push(["SELECT", "WITH", "VALUES"].contains(&word_after(&tokens, at))),
            ")" => {
                subqueries.pop();
            }
            _ => {}
        }
        let begins = at == 0 || tokens[at - 1] != ".";
        let outside = !subqueries.contains(&true) && !item.contains(&at);
        if begins && outside && *token == prefix && next(1) == "." && next(2) != "*" {
            at += 2;
            continue;
        }
        out.push_str(token);
        at += 1;
    }
    out
}

/// Where a query's only table stands in its tokens, and the name that its columns bear; `None` when there are several.
fn only_table<'q>(tokens: &[&'q str]) -> Option<(std::ops::Range<usize>, &'q str)> {
    let mut depth = 0_i32;
    let mut from = None;
    for (at, token) in tokens.iter().enumerate() {
        match *token {
            "(" => depth += 1,
            ")" => depth -= 1,
            ";" if depth == 0 => break,
            word if depth == 0 && COMBINE.contains(&word) => return None,
            "FROM" if depth == 0 && from.is_none() => from = Some(at),
            _ => {}
        }
    }
    let start = from?;
    let mut words = Words {
        tokens,
        at: start + 1,
    };
    let mut name = words.next()?;
    if name == "ONLY" {
        name = words.next()?;
    }
    if name == "(" {
        // A join stands in parentheses too.
        (words.peek() == "SELECT").then_some(())?;
        words.skip_to_closing();
    }
    while words.peek() == "." {
        words.next();
        name = words.next()?;
    }
    if words.peek() == "(" {
        words.next();
        words.skip_to_closing();
    }
    if words.peek() == "AS" {
        words.next();
    }
    if !words.peek().is_empty() && !AFTER_FROM.contains(&words.peek()) {
        name = words.next()?;
        if words.peek() == "(" {
            words.next();
            words.skip_to_closing();
        }
    }
    let alone = words.peek().is_empty() || AFTER_FROM.contains(&words.peek());
    alone.then_some((start..words.at, name))
}

/// Tokens without the white space between them.
struct Words<'t, 'q> {
    tokens: &'t [&'q str],
    at: usize,
}

impl<'q> Words<'_, 'q> {
    fn peek(&self) -> &'q str {
        let mut rest = self.tokens.iter().skip(self.at);
        rest.find(|token| !token.trim().is_empty())
            .copied()
            .unwrap_or_default()
    }

    fn next(&mut self) -> Option<&'q str> {
        loop {
            let token = *self.tokens.get(self.at)?;
            self.at += 1;
            if !token.trim().is_empty() {
                return Some(token);
            }
        }
    }

    /// To after the parenthesis that closes the one just read.
    fn skip_to_closing(&mut self) {
        let mut depth = 1;
        while depth > 0 {
            match self.next() {
                Some("(") => depth += 1,
                Some(")") => depth -= 1,
                Some(_) => {}
                None => return,
            }
        }
    }
}

fn word_after<'q>(tokens: &[&'q str], at: usize) -> &'q str {
    Words { tokens, at: at + 1 }.peek()
}

/// Names (quoted ones whole), texts, runs of white space, and every other character alone.
fn tokens(query: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let mut rest = query;
    while let Some(first) = rest.chars().next() {
        let in_name = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        let end = if first == '"' || first == '\'' {
            quoted_end(rest, first)
        } else if in_name(first) {
            rest.find(|c| !in_name(c)).unwrap_or(rest.len())
        } else if first.is_whitespace() {
            rest.find(|c: char| !c.is_whitespace())
                .unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(end);
        all.push(token);
        rest = after;
    }
    all
}

/// Where a quoted name or text ends; a doubled quote is part of it.
fn quoted_end(text: &str, quote: char) -> usize {
    let mut letters = text.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if letter == quote {
            match letters.peek() {
                Some((_, next)) if *next == quote => {
                    letters.next();
                }
                _ => return at + 1,
            }
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_the_only_table_lose_its_name() {
        for (older, newer) in [
            (
                " SELECT player.id,\n    player.name\n   FROM app.player\n  WHERE player.status = 'player.x'; with a",
                " SELECT id,\n    name\n   FROM app.player\n  WHERE status = 'player.x'; with a",
            ),
            (
                "SELECT sum(p.\"a b\") AS x FROM app.plays p GROUP BY p.player",
                "SELECT sum(\"a b\") AS x FROM app.plays p GROUP BY player",
            ),
            (
                "SELECT \"O.d\".a FROM ONLY app.\"O.d\"",
                "SELECT a FROM ONLY app.\"O.d\"",
            ),
            (
                "SELECT s.a FROM ( SELECT t.a FROM t) s WHERE (s.a IS DISTINCT FROM 1)",
                "SELECT a FROM ( SELECT t.a FROM t) s WHERE (a IS DISTINCT FROM 1)",
            ),
            (
                "SELECT g.g FROM generate_series(1, 3) g(g)",
                "SELECT g FROM generate_series(1, 3) g(g)",
            ),
        ] {
            assert_eq!(without_prefix(older), newer);
            assert_eq!(without_prefix(newer), newer);
        }
    }

    #[test]
    fn where_a_name_is_still_needed_it_stays() {
        for query in [
            "SELECT a.id, b.id FROM (app.a JOIN app.b ON ((a.id = b.id)))",
            "SELECT a.id FROM app.a, app.b",
            "SELECT a.id FROM a UNION SELECT b.id FROM b",
            "WITH x AS (SELECT 1) SELECT x.n FROM x",
            "SELECT t.*::t AS whole FROM t",
            "SELECT 1 AS one",
        ] {
            assert_eq!(without_prefix(query), query);
        }
        let query = "SELECT t.a FROM t WHERE (EXISTS ( SELECT 1 FROM u WHERE (u.a = t.a)))";
        assert_eq!(
            without_prefix(query),
            "SELECT a FROM t WHERE (EXISTS ( SELECT 1 FROM u WHERE (u.a = t.a)))"
        );
    }
}
