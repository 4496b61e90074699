use super::*;

fn check(text: &str, line: &str) {
    assert!(text.lines().any(|l| l == line), "no line {line:?} in\n{text}");
}

#[test]
fn counters_keep_istios_names() {
    let metrics = Metrics::new();
    metrics.sent(types::CLUSTER, 10_500);
    metrics.sent(types::CLUSTER, 20);
    metrics.refused();
    let text = metrics.scrape(&Present::default());
    check(&text, "# TYPE pilot_xds_pushes counter");
    check(&text, "pilot_xds_pushes{type=\"cds\"} 2");
    check(&text, "pilot_total_xds_rejects 1");
    check(&text, &format!("pilot_xds_config_size_bytes_bucket{{le=\"10000.0\",type=\"{}\"}} 1", types::CLUSTER));
    assert!(!text.contains("# EOF"));
}

#[test]
fn gauges_show_the_present_state_and_nothing_older() {
    let metrics = Metrics::new();
    let present = Present { versions: vec!["1.0", "1.0", "2.0"], services: 3, ..Present::default() };
    check(&metrics.scrape(&present), "pilot_xds{version=\"1.0\"} 2");
    let text = metrics.scrape(&Present { versions: vec!["2.0"], ..Present::default() });
    check(&text, "pilot_xds{version=\"2.0\"} 1");
    check(&text, "pilot_services 0");
    assert!(!text.contains("version=\"1.0\"} "));
}

#[test]
fn a_lasting_refusal_names_its_node() {
    let metrics = Metrics::new();
    let refused = Refused { type_url: types::LISTENER, node: "web.shop", error: "no such filter" };
    let present = Present { refusals: vec![refused], ..Present::default() };
    let text = metrics.scrape(&present);
    check(&text, "pilot_xds_lds_reject{node=\"web.shop\",err=\"no such filter\"} 1");
    assert!(!text.contains("pilot_xds_cds_reject{"));
}
