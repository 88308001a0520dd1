// Graphs with control flow or functions, and files that are no graphs, are refused.
#include <doctest/doctest.h>

#include "bundle/onnx_outline.hpp"
#include "bundle_folder.hpp"

namespace {

/// A field of protobuf that holds a text or a message of less than 128 bytes.
std::string part(int field, const std::string& content) {
    std::string key(1, static_cast<char>((field & 15) << 3 | 2));
    if (field > 15) {
        key[0] = static_cast<char>(key[0] | '\x80');
        key += static_cast<char>(field >> 4);
    }
    return key + static_cast<char>(content.size()) + content;
}

std::string model_of(const std::string& attribute) {
    const std::string version("\x08\x0a", 2), name = part(1, "x") + part(4, "Anything");
    return version + part(7, part(1, name + part(5, attribute)) + part(2, "a graph"));
}

std::string refusal(const std::string& onnx) {
    return tests::error_of([&] { hcflow::check_onnx_outline(onnx, "f.onnx"); });
}

}  // namespace

TEST_CASE("a model of plain nodes is accepted") {
    CHECK(refusal(model_of(part(1, "axis"))) == "nothing");
    const std::string values("\x0d\1\2\3\4\x11\1\2\3\4\5\6\7\x08\x18\x05", 16);  // of every kind
    CHECK(refusal(model_of(part(1, "axis") + values)) == "nothing");
}

TEST_CASE("a node that holds a graph is refused: a loop may never end") {
    const std::string error =
        "2: 'f.onnx' has control flow, which may never end: refused; build the bundle again";
    CHECK(refusal(model_of(part(6, ""))) == error);
    CHECK(refusal(model_of(part(1, "bodies") + part(11, part(1, "")))) == error);
    // A second graph is merged with the first when the file is loaded.
    CHECK(refusal(model_of("") + model_of(part(6, ""))) == error);
}

TEST_CASE("a field's number beyond 32 bits hides no graph") {
    const std::string hidden("\xb2\x80\x80\x80\x10\x00", 6);  // 2^32 more than the key of field 6
    CHECK(tests::has(refusal(model_of(hidden)), "is not an ONNX model"));
}

TEST_CASE("a model with functions of its own is refused") {
    CHECK(tests::has(refusal(model_of("") + part(25, "")), "has functions of its own"));
}

TEST_CASE("what is not an ONNX model is refused") {
    const std::string whole = model_of(part(1, "axis"));
    for (const std::string& text :
         {std::string(), std::string("<net name=\"an IR\"/>"), std::string("\x08\x0a", 2),
          std::string(20, '\xff'), std::string("\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 10)})
        CHECK(tests::has(refusal(text), "is not an ONNX model"));
    for (std::size_t size = 1; size < whole.size(); ++size)
        CHECK(tests::has(refusal(whole.substr(0, size)), "is not an ONNX model"));
}
