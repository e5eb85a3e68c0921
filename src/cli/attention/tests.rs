//! What all pictures must hold.

use roxmltree::{Document, Node};

/// An attribute that is a number.
pub(crate) fn number(node: &Node, name: &str) -> f64 {
    node.attribute(name).unwrap().parse().unwrap()
}

/// Checks that all that has a place is on the page.
#[track_caller]
pub(crate) fn check_on_page(document: &Document) {
    let root = document.root_element();
    let (width, height) = (number(&root, "width"), number(&root, "height"));
    for node in document.descendants().filter(|node| node.has_attribute("x")) {
        let (x, y) = (number(&node, "x"), number(&node, "y"));
        assert!(x >= 0.0 && x < width && y >= 0.0 && y < height, "{node:?}");
        if node.has_attribute("width") {
            assert!(x + number(&node, "width") <= width && y + number(&node, "height") <= height, "{node:?}");
        }
    }
}
