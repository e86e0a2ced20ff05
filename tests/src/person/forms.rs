//! The forms of the OAuth server's pages, as they stand in its HTML.

/// One that a person can fill in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) kind: Kind,
    pub(super) action: String,
    pub(super) hidden: Vec<(String, String)>,
    /// Where "Cancel" leads.
    pub(super) cancel: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Login,
    Consent,
    Logout,
}

impl Form {
    /// The form of a page; none if it is another than those three, as any app's.
    pub(super) fn of(page: &[u8]) -> Option<Self> {
        let page = str::from_utf8(page).ok()?;
        let (_, form) = page.split_once("<form")?;
        let hidden: Vec<_> = form
            .split("type=\"hidden\" name=\"")
            .skip(1)
            .filter_map(|input| {
                let (name, rest) = input.split_once('"')?;
                let value = rest.strip_prefix(" value=\"")?.split('"').next()?;
                Some((name.to_owned(), value.to_owned()))
            })
            .collect();
        let value = |name: &str| {
            let field = hidden.iter().find(|(field, _)| field == name);
            field.map(|(_, value)| value.as_str())
        };
        let kind = match (value("prompt"), value("xsrf")) {
            (Some("login"), _) => Kind::Login,
            (Some("consent"), _) => Kind::Consent,
            (_, Some(_)) => Kind::Logout,
            _ => return None,
        };
        let links = form.split("href=\"").skip(1);
        let mut links = links.filter_map(|link| link.split('"').next());
        Some(Self {
            kind,
            action: form
                .split_once("action=\"")?
                .1
                .split('"')
                .next()?
                .to_owned(),
            cancel: links
                .find(|link| link.ends_with("/abort"))
                .map(str::to_owned),
            hidden,
        })
    }
}
