#include "bundle/json_reader.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.hpp"

namespace hcflow {
namespace {

constexpr std::size_t kShown = 60;  // characters of a wrong value
constexpr int kMostDepth = 100;     // of nested JSON

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/// Whether a text is not empty and has only letters, digits and the characters of `others`.
bool is_plain(const std::string& text, const std::string& others) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
        return is_digit(c) || is_letter(c) || others.find(c) != std::string::npos;
    });
}

std::string escaped(const JsonReader::Json& value) {
    return value.dump(-1, ' ', true, JsonReader::Json::error_handler_t::replace);
}

std::string cut(const std::string& text) {
    return text.size() > kShown ? text.substr(0, kShown - 3) + "..." : text;
}

}  // namespace

std::string printable(const std::string& text) {
    const std::string quoted = escaped(text);
    return cut(quoted.substr(1, quoted.size() - 2));
}

JsonReader::JsonReader(const Json& value, std::string where, std::string path)
    : value_(&value), where_(std::move(where)), path_(std::move(path)) {}

JsonReader JsonReader::operator[](const std::string& key) const {
    const auto found = as_object().find(key);
    if (found == value_->end())
        throw_error(ErrorCode::bundle, where_, ": ", path_, ".", key, " is missing");
    return {*found, where_, concat(path_, ".", key)};
}

std::optional<JsonReader> JsonReader::get(const std::string& key) const {
    const auto found = as_object().find(key);
    if (found == value_->end() || found->is_null()) return std::nullopt;
    return JsonReader(*found, where_, concat(path_, ".", key));
}

std::vector<JsonReader> JsonReader::items() const {
    if (!value_->is_array()) throw_wrong("an array");
    std::vector<JsonReader> fields;
    for (std::size_t i = 0; i < value_->size(); ++i)
        fields.emplace_back((*value_)[i], where_, concat(path_, "[", i, "]"));
    return fields;
}

std::vector<std::pair<std::string, JsonReader>> JsonReader::members() const {
    std::vector<std::pair<std::string, JsonReader>> fields;
    for (const auto& [key, value] : as_object().items())
        fields.emplace_back(key, JsonReader(value, where_, concat(path_, ".", printable(key))));
    return fields;
}

const std::string& JsonReader::string() const {
    if (!value_->is_string()) throw_wrong("a string");
    return value_->get_ref<const std::string&>();
}

const std::string& JsonReader::choice(const std::vector<std::string>& options) const {
    if (value_->is_string() && std::find(options.begin(), options.end(), string()) != options.end())
        return string();
    throw_wrong("one of " + join(options));
}

const std::string& JsonReader::digest() const {
    const auto is_hex = [](char c) { return is_digit(c) || (c >= 'a' && c <= 'f'); };
    if (!value_->is_string() || string().size() != 64 ||
        !std::all_of(string().begin(), string().end(), is_hex))
        throw_wrong("a SHA-256: 64 lower-case hexadecimal digits");
    return string();
}

const std::string& JsonReader::file_name() const {
    if (!value_->is_string() || !is_plain(string(), "._+-") || !is_plain({string()[0]}, ""))
        throw_wrong("a plain file name inside the bundle");
    return string();
}

const std::string& JsonReader::word() const {
    if (!value_->is_string() || !is_plain(string(), "._/-")) throw_wrong("a plain word");
    return string();
}

const std::string& JsonReader::name() const {
    const auto is_bad = [](char c) {
        return c == '/' || c == '\\' || static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
    };
    // U+0080 to U+009F are control characters as well.
    const auto is_control = [](char one, char two) {
        return one == '\xC2' && static_cast<unsigned char>(two) < 0xA0;
    };
    if (!value_->is_string() || string().empty() ||
        std::any_of(string().begin(), string().end(), is_bad) ||
        std::adjacent_find(string().begin(), string().end(), is_control) != string().end())
        throw_wrong("a name without slashes");
    return string();
}

std::int64_t JsonReader::integer(std::int64_t minimum, std::int64_t maximum) const {
    const auto largest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    const bool fits = value_->is_number_integer() &&
                      (!value_->is_number_unsigned() || value_->get<std::uint64_t>() <= largest);
    if (!fits || value_->get<std::int64_t>() < minimum)
        throw_wrong(concat("an integer, ", minimum, " or more"));
    if (value_->get<std::int64_t>() > maximum)
        throw_wrong(concat("an integer, ", maximum, " or less"));
    return value_->get<std::int64_t>();
}

double JsonReader::number(double minimum) const {
    if (!value_->is_number() || !std::isfinite(value_->get<double>()) ||
        value_->get<double>() < minimum)
        throw_wrong(std::isfinite(minimum) ? concat("a number, ", minimum, " or more")
                                           : "a number");
    return value_->get<double>();
}

bool JsonReader::boolean() const {
    if (!value_->is_boolean()) throw_wrong("true or false");
    return value_->get<bool>();
}

bool JsonReader::is_null() const { return value_->is_null(); }

std::string JsonReader::object_text() const { return as_object().dump(); }

const JsonReader::Json& JsonReader::as_object() const {
    if (!value_->is_object()) throw_wrong("an object");
    return *value_;
}

void JsonReader::throw_wrong(const std::string& what) const {
    throw_error(ErrorCode::bundle, where_, ": ", path_, " is ", cut(escaped(*value_)),
                "; it must be ", what);
}

JsonDocument::JsonDocument(const std::string& json, std::string where, const std::string& what)
    : where_(std::move(where)) {
    const auto refuse = [&](const std::string& reason) {
        throw_error(ErrorCode::bundle, where_, " is ", what, ": ", reason,
                    "; build the bundle again");
    };
    const auto limit_depth = [&](int depth, JsonReader::Json::parse_event_t, JsonReader::Json&) {
        if (depth > kMostDepth) refuse(concat("nested deeper than ", kMostDepth));
        return true;
    };
    if (json.compare(0, 3, "\xEF\xBB\xBF") == 0) refuse("it starts with a byte order mark");
    try {
        value_ =
            std::make_unique<const JsonReader::Json>(JsonReader::Json::parse(json, limit_depth));
    } catch (const JsonReader::Json::exception& error) {
        refuse(error.what());
    }
}

JsonDocument::~JsonDocument() = default;

JsonReader JsonDocument::root(std::string path) const { return {*value_, where_, std::move(path)}; }

}  // namespace hcflow
