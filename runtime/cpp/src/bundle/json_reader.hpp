// A checked reader of decoded JSON: every value knows its path, so errors can name it.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace hcflow {

/// The largest integer up to which a double counts without gaps.
inline constexpr std::int64_t kMostInteger = std::int64_t{1} << 53U;

/// A stranger's text for a message: ASCII on one line, what is long cut.
std::string printable(const std::string& text);

/// One JSON value, its path (`$.graphs[0].bytes`) and the file it came from.
/// Every method throws Error (bundle) when the value is not what is asked for.
class JsonReader {
  public:
    using Json = nlohmann::json;

    /// `value` must outlive the reader; `where` names the file in errors.
    JsonReader(const Json& value, std::string where, std::string path = "$");

    /// The value of a key that must be there.
    JsonReader operator[](const std::string& key) const;
    /// The value of a key that may be absent or null.
    [[nodiscard]] std::optional<JsonReader> get(const std::string& key) const;
    /// The elements of an array.
    [[nodiscard]] std::vector<JsonReader> items() const;
    /// The members of an object.
    [[nodiscard]] std::vector<std::pair<std::string, JsonReader>> members() const;

    [[nodiscard]] const std::string& string() const;
    /// One of the strings given.
    [[nodiscard]] const std::string& choice(const std::vector<std::string>& options) const;
    /// 64 lower-case hexadecimal digits.
    [[nodiscard]] const std::string& digest() const;
    /// A file name that stays inside the bundle: letters, digits and `._+-`, no dot in front.
    [[nodiscard]] const std::string& file_name() const;
    /// Letters, digits and `._/-`.
    [[nodiscard]] const std::string& word() const;
    /// Without slashes and control characters.
    [[nodiscard]] const std::string& name() const;
    /// An integer of a range, which ends by default at what a double counts to.
    [[nodiscard]] std::int64_t integer(std::int64_t minimum,
                                       std::int64_t maximum = kMostInteger) const;
    /// A finite number >= minimum.
    [[nodiscard]] double number(double minimum = -std::numeric_limits<double>::infinity()) const;
    [[nodiscard]] bool boolean() const;
    [[nodiscard]] bool is_null() const;
    /// The value, which is an object, as JSON again.
    [[nodiscard]] std::string object_text() const;
    /// Throws: what the value is, and what it must be.
    [[noreturn]] void throw_wrong(const std::string& what) const;

  private:
    [[nodiscard]] const Json& as_object() const;

    const Json* value_;
    std::string where_;
    std::string path_;
};

/// A decoded JSON text, which its readers point into.
class JsonDocument {
  public:
    /// `where` names it in errors, `what` says what it is when it is none ("not a manifest").
    /// Throws Error (bundle): not JSON, nested too deep, or NaN in it.
    JsonDocument(const std::string& json, std::string where, const std::string& what);
    JsonDocument(const JsonDocument&) = delete;
    JsonDocument& operator=(const JsonDocument&) = delete;
    ~JsonDocument();

    /// The outermost value; `path` is what errors call it.
    [[nodiscard]] JsonReader root(std::string path = "$") const;

  private:
    std::string where_;
    std::unique_ptr<const JsonReader::Json> value_;
};

}  // namespace hcflow
