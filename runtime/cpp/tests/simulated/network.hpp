// The network of a simulated engine: decoded from its text, with the null backend's arithmetic.
#pragma once

#include <cstdint>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace simulated {

using Shape = std::vector<std::int64_t>;

constexpr std::int64_t kScratchPerPixel = 64;

inline std::size_t count(const Shape& shape) {
    std::size_t product = 1;
    for (const std::int64_t side : shape) product *= static_cast<std::size_t>(side);
    return product;
}

/// The contents of an engine's text.
struct Facts {
    std::string capability, direction;
    std::int64_t scale = 0;
    std::vector<std::pair<std::int64_t, std::int64_t>> levels;  // channels, factor
    std::vector<std::map<std::string, std::pair<Shape, Shape>>> profiles;
    std::vector<std::string> inputs, outputs;
    // Words after the end: of a version-compatible engine, of one that says that it cannot be
    // captured, of one that does not say so, and of one that cannot tell its scratch memory.
    bool host_code = false, uncapturable = false, breaks_captures = false, no_scratch = false;

    static bool read(const std::string& text, Facts& facts) {
        std::istringstream in(text);
        std::string magic;
        std::size_t levels = 0, profiles = 0;
        if (!(in >> magic >> facts.capability >> facts.direction >> facts.scale >> levels) ||
            magic != "SIMULATED")
            return false;
        facts.levels.resize(levels);
        for (auto& [channels, factor] : facts.levels) in >> channels >> factor;
        in >> profiles;
        facts.profiles.resize(profiles);
        for (auto& profile : facts.profiles) {
            std::size_t ranges = 0;
            in >> ranges;
            for (std::size_t i = 0; i < ranges; ++i) {
                std::string name;
                Shape low(4), high(4);
                in >> name;
                for (auto& side : low) in >> side;
                for (auto& side : high) in >> side;
                profile[name] = {low, high};
            }
        }
        std::string end;
        if (!(in >> end) || end != "END") return false;
        while (in >> end) {
            facts.host_code |= end == "HOST-CODE";
            facts.uncapturable |= end == "UNCAPTURABLE";
            facts.breaks_captures |= end == "BREAKS-CAPTURES";
            facts.no_scratch |= end == "NO-SCRATCH";
        }
        std::vector<std::string> zs;
        for (std::size_t i = 0; i < levels; ++i) zs.push_back("z" + std::to_string(i + 1));
        const bool inverse = facts.direction == "inverse";
        facts.inputs = {inverse ? "lr" : "hr"};
        facts.outputs = {inverse ? "hr" : "lr"};
        std::vector<std::string>& with = inverse ? facts.inputs : facts.outputs;
        with.insert(with.end(), zs.begin(), zs.end());
        return true;
    }

    [[nodiscard]] Shape output(const std::string& name,
                               const std::map<std::string, Shape>& in) const {
        if (name == "hr") {
            const Shape& lr = in.at("lr");
            return {lr[0], 3, scale * lr[2], scale * lr[3]};
        }
        const Shape& hr = in.at("hr");
        if (name == "lr") return {hr[0], 3, hr[2] / scale, hr[3] / scale};
        const auto [channels, factor] = levels.at(std::stoul(name.substr(1)) - 1);
        return {hr[0], channels, hr[2] / scale * factor, hr[3] / scale * factor};
    }
};

/// One run, with the shapes and addresses that were set when it was enqueued.
struct Run {
    const Facts* facts;
    std::map<std::string, Shape> shapes;
    std::map<std::string, float*> at;

    float& value(const std::string& name, std::int64_t c, std::int64_t y, std::int64_t x) const {
        const Shape& s = shapes.at(name);
        return at.at(name)[(c * s[2] + y) * s[3] + x];
    }
};

inline int inverse(const Run& run) {
    const Shape& hr = run.shapes.at("hr");
    for (std::int64_t c = 0; c < 3; ++c)
        for (std::int64_t y = 0; y < hr[2]; ++y)
            for (std::int64_t x = 0; x < hr[3]; ++x) {
                const std::int64_t scale = run.facts->scale;
                float sum = 0.75F * run.value("lr", c, y / scale, x / scale);
                for (std::size_t i = 0; i < run.facts->levels.size(); ++i) {
                    const auto [channels, factor] = run.facts->levels[i];
                    const std::int64_t block = scale / factor;
                    sum +=
                        run.value("z" + std::to_string(i + 1), c % channels, y / block, x / block) /
                        16;
                }
                run.value("hr", c, y, x) = sum;
            }
    return 0;
}

inline int forward(const Run& run) {
    for (const std::string& name : run.facts->outputs) {
        const Shape& out = run.shapes.at(name);
        const std::int64_t block = run.shapes.at("hr")[2] / out[2];
        for (std::int64_t c = 0; c < out[1]; ++c)
            for (std::int64_t y = 0; y < out[2]; ++y)
                for (std::int64_t x = 0; x < out[3]; ++x)
                    run.value(name, c, y, x) =
                        run.value("hr", c % 3, y * block, x * block) - (name == "lr" ? 0 : 0.5F);
    }
    return 0;
}

inline int kernel(void* data) {
    const Run& run = *static_cast<const Run*>(data);
    return run.facts->direction == "inverse" ? inverse(run) : forward(run);
}

}  // namespace simulated
