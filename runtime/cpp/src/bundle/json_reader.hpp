// Checked access to decoded JSON. Every value knows its path, so that errors can name it.
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

/// Doubles represent every integer up to this one.
inline constexpr std::int64_t kMostInteger = std::int64_t{1} << 53U;

/// Untrusted text for an error message: ASCII, on one line, shortened if it is long.
std::string printable(const std::string& text);

/// One JSON value, its path (`$.graphs[0].bytes`) and the file it came from.
/// Every method throws Error (bundle) if the value does not have the type and range asked for.
class JsonReader {
  public:
    using Json = nlohmann::json;

    /// `value` must outlive the reader; `where` names the file in errors.
    JsonReader(const Json& value, std::string where, std::string path = "$");

    /// The value of a required key.
    JsonReader operator[](const std::string& key) const;
    /// The value of an optional key; none if it is absent or null.
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
    /// A file name without folders: letters, digits and `._+-`, beginning with a letter or digit.
    [[nodiscard]] const std::string& file_name() const;
    /// Letters, digits and `._/-`.
    [[nodiscard]] const std::string& word() const;
    /// Text without slashes and control characters.
    [[nodiscard]] const std::string& name() const;
    /// An integer from minimum to maximum.
    [[nodiscard]] std::int64_t integer(std::int64_t minimum,
                                       std::int64_t maximum = kMostInteger) const;
    /// A finite number >= minimum.
    [[nodiscard]] double number(double minimum = -std::numeric_limits<double>::infinity()) const;
    [[nodiscard]] bool boolean() const;
    [[nodiscard]] bool is_null() const;
    /// The value, which must be an object, as JSON text.
    [[nodiscard]] std::string object_text() const;
    /// Throws an error that says what the value is and what it must be.
    [[noreturn]] void throw_wrong(const std::string& what) const;

  private:
    [[nodiscard]] const Json& as_object() const;

    const Json* value_;
    std::string where_;
    std::string path_;
};

/// A decoded JSON text. Its readers point into it.
class JsonDocument {
  public:
    /// `where` names the text in errors; `what` is the error if it cannot be decoded, such as "not
    /// a manifest". Throws Error (bundle): not JSON, nested too deep, or it contains NaN.
    JsonDocument(const std::string& json, std::string where, const std::string& what);
    JsonDocument(const JsonDocument&) = delete;
    JsonDocument& operator=(const JsonDocument&) = delete;
    ~JsonDocument();

    /// The outermost value; `path` is its name in errors.
    [[nodiscard]] JsonReader root(std::string path = "$") const;

  private:
    std::string where_;
    std::unique_ptr<const JsonReader::Json> value_;
};

}  // namespace hcflow
