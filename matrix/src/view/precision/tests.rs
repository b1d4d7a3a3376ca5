use super::*;
use sample::{alike, along, matrix, own, peer};

fn evaluations() -> Vec<Evaluation> {
    let mut few = own("4 kv=4", 4.5, 0.2);
    along(&mut few, &[0.1, 0.2]);
    let mut mixed = own("adaptive", 5.1, 0.08);
    mixed.matrices =
        vec![matrix("model.layers.0.mlp.up_proj.weight", 4), matrix("lm_head.weight", 8)];
    few.matrices.clone_from(&mixed.matrices);
    let mut elsewhere = own("2", 2.5, 0.01);
    elsewhere.text.name = "other.txt".to_owned();
    let all = [own("8", 8.5, 0.001), own("4", 4.5, 0.09), few, mixed, elsewhere];
    all.into_iter().chain([peer("Q4_K_M", 4.8, 0.05)]).collect()
}

#[test]
fn divergences_are_compared_on_one_text_alone() {
    let page = PrecisionPage::of(&evaluations());
    let [section] = &page.sections[..] else { panic!("one model") };
    let rows: Vec<(&str, bool)> =
        section.rows.iter().map(|row| (row.name.as_str(), row.on_front)).collect();
    assert_eq!(
        rows,
        [
            ("8-bit", true),
            ("adaptive", false),
            ("Q4_K_M", true),
            ("4-bit", true),
            ("4-bit kv=4", false),
            ("2-bit", true),
        ]
    );
    let titles: Vec<&str> = section.texts.iter().map(|text| text.title.as_str()).collect();
    let read = "1024 tokens in contexts of 512";
    assert_eq!(titles, [format!("docs.txt, {read}"), format!("other.txt, {read}")]);
    assert!(section.texts[0].sentence.contains("4.50 a weight (4-bit by fewbit 0.1.0)"));
    assert!(section.texts[1].sentence.contains("2.50 a weight (2-bit"));
    assert_eq!((section.texts[0].depths.len(), section.plans.len()), (1, 1));
}

#[test]
fn each_reference_has_a_section_and_the_order_of_files_does_not_matter() {
    let mut all = evaluations();
    all[0].reference = "another".to_owned();
    let page = PrecisionPage::of(&all);
    let references: Vec<&str> = page.sections.iter().map(|it| it.reference.as_str()).collect();
    assert_eq!(references, ["another", "smollm2-135m"]);
    assert_eq!(page.sections[0].rows[0].model, "smollm2-135m");
    let html = page.to_string();
    all.reverse();
    assert_eq!(PrecisionPage::of(&all).to_string(), html);
}

#[test]
fn models_that_do_not_write_have_figures_of_their_own() {
    let page = PrecisionPage::of(&[alike("4", 4.5, 0.004), alike("3", 3.5, 0.02)]);
    let section = &page.sections[0];
    assert_eq!(section.texts[0].title, "sentences.txt, 200 samples");
    assert!(!section.writes && section.hears && section.compares && section.answers);
    assert_eq!(
        section.texts[0].sentence,
        "Fewest bits whose cosine stays above 0.99: 4.50 a weight (4-bit by fewbit 0.1.0), at 0.00400."
    );
    let html = page.to_string();
    for wanted in [
        "distance, 1 − cosine",
        "0.9960",
        "0.9950",
        ">6.0 <small>5.0 to 7.0 / 5.0</small>",
        ">95.0 <small>92.0 to 97.5 / 99.0</small>",
        "sentence_embedding",
    ] {
        assert!(html.contains(wanted), "{wanted}");
    }
    assert!(!html.contains("perplexity <small>/ reference"), "nobody writes");
    assert!(!html.contains("bytes a token") && !html.contains("Memory"), "nobody remembers");
}

#[test]
fn a_page_says_what_is_what_without_colour_or_script() {
    let html = PrecisionPage::of(&evaluations()).to_string();
    for wanted in [
        "Fewest bits whose divergence stays below 0.1 nats: 4.50 a weight",
        "llama.cpp 0.3.36",
        ">other engine</span>",
        ">on the front</span>",
        "16,384",
        "1 matrix in 8 bits, 1 matrix in 4 bits",
        "0.100 nats in the first 8 tokens",
        "default-src 'none'",
    ] {
        assert!(html.contains(wanted), "{wanted}");
    }
    for reference in ["http:", "https:", " src=", "@import", "url(", "<link", "<img", "<iframe"] {
        assert!(!html.contains(reference), "{reference}");
    }
    let empty = PrecisionPage::of(&[]).to_string();
    assert!(empty.contains("No evaluations yet") && !empty.contains("<table"));
}

#[test]
fn hostile_strings_add_no_tag_and_no_attribute() {
    let filled = |text: &str| {
        let mut all = evaluations();
        for it in &mut all {
            it.engine = format!("{text} {}", it.engine);
            (it.model, it.reference, it.at) = (text.to_owned(), text.to_owned(), text.to_owned());
            (it.text.name, it.cache.format) = (text.to_owned(), text.to_owned());
            it.format = it.format.as_ref().map(|_| text.to_owned());
            for matrix in &mut it.matrices {
                matrix.name = format!("{}{text}", matrix.name);
                matrix.format = text.to_owned();
            }
        }
        PrecisionPage::of(&all).to_string()
    };
    let count = |html: &str| ['<', '>', '"', '\''].map(|mark| html.matches(mark).count());
    let harmless = count(&filled("harmless"));
    for text in ["<b>alert</b>", "\" x=\"1", "' on='1", "</title><s>", "{{ x }}&lt;"] {
        // As long as the harmless text, so that labels find the same room.
        let text = format!("{text:8.8}");
        assert_eq!(count(&filled(&text)), harmless, "{text}");
    }
}

#[test]
fn numbers_that_are_none_show_as_such_and_are_not_drawn() {
    let mut broken = own("2", f64::NAN, f64::NAN);
    broken.fidelity.as_mut().unwrap().perplexity = f64::INFINITY;
    let page = PrecisionPage::of(&[broken]);
    let html = page.to_string();
    assert!(html.contains("No evaluation gave a number") && html.contains(">NaN<"));
    assert!(page.sections[0].texts[0].chart.is_none() && !html.contains("NaN\"/>"));
}
