// The graph, the tiles and the memory of an image.
#include <doctest/doctest.h>

#include "bundle_folder.hpp"
#include "inference/network.hpp"
#include "inference/plan.hpp"
#include "inference/upscale.hpp"

using hcflow::Image;
using hcflow::Pixel;
using tests::BundleFolder;
using tests::error_of;
using tests::has;
using tests::noise;

TEST_CASE("INT8 is not used if its overlaps cost more time than it saves") {
    const auto graph = [](hcflow::Precision precision, std::size_t tile, std::size_t overlap) {
        hcflow::Graph made{};
        made.precision = precision;
        made.tile = tile;
        made.overlap = overlap;
        return made;
    };
    const hcflow::Graph low = graph(hcflow::Precision::int8, 16, 16);
    const hcflow::Graph exact = graph(hcflow::Precision::fp32, 16, 2);
    CHECK(&hcflow::cheapest({&low, &exact}, {20, 20}, {}, 0.42) == &low);
    CHECK(&hcflow::cheapest({&low, &exact}, {200, 200}, {}, 0.42) == &exact);
    const hcflow::Graph same = graph(hcflow::Precision::fp16, 16, 2);
    CHECK(&hcflow::cheapest({&same, &exact}, {200, 200}, {}, 0.42) ==
          &exact);  // the later of two equal graphs
    hcflow::Graph whole = low;
    whole.tile = whole.overlap = std::nullopt;  // it has no overlap
    CHECK(&hcflow::cheapest({&whole, &exact}, {20, 20}, {}, 0.42) == &whole);
    CHECK(&hcflow::cheapest({&whole, &exact}, {21, 21}, {}, 0.42) == &exact);
}

TEST_CASE("an image that does not fit into memory is refused before its run") {
    const BundleFolder bundle(
        [](nlohmann::json& m) { m["graphs"][0]["bytes_per_lr_pixel"] = std::int64_t{1} << 50; });
    CHECK(has(error_of([&] { (void)bundle.open().upscale(noise(4, 4, 3, Pixel::u8).view()); }),
              "3: a low-resolution size of 4x4 needs about"));
}

TEST_CASE("memory that earlier runs keep is counted for one run at a time") {
    const BundleFolder bundle;
    hcflow::Network network(hcflow::Bundle::open(bundle.path()), hcflow::open_null, "null", {},
                            [] { return std::optional<std::uint64_t>(1000); });
    const hcflow::Graph& graph = network.manifest().graphs[0];
    using Budget = hcflow::Network::MemoryBudget;
    Budget(network, graph).record(500);
    {
        const Budget first(network, graph), second(network, graph);
        CHECK(first.available() == 1500.0);
        CHECK(second.available() == 1000.0);
        CHECK(Budget(network, network.manifest().graphs[1]).available() == 1000.0);
    }
    CHECK(Budget(network, graph).available() == 1500.0);
}

TEST_CASE("tiles get smaller if memory is short, and neighbours are compared") {
    const BundleFolder bundle([](nlohmann::json& m) {
        m["graphs"][0]["tile"] = 64;
        m["graphs"][0]["overlap"] = 2;
        m["graphs"][0]["bytes_per_lr_pixel"] = 1000000;
    });
    const Image small = noise(196, 70, 3, Pixel::u8);
    const auto run = [&](hcflow::Network::MemoryReader memory, Image& large) {
        hcflow::Network network(hcflow::Bundle::open(bundle.path()), hcflow::open_null, "null", {},
                                memory);
        hcflow::Report report;
        hcflow::UpscaleOptions options;
        options.report = &report;
        const std::string error =
            error_of([&] { upscale_into(network, small.view(), large.view(), options); });
        CHECK((error == "nothing" || has(error, "3: a low-resolution size of 20x18 needs about")));
        return error == "nothing" ? report : hcflow::Report{};
    };
    using Memory = std::optional<std::uint64_t>;
    Image plenty(784, 280, 3, Pixel::u8), little(784, 280, 3, Pixel::u8);
    const hcflow::Report usual = run([] { return Memory(100'000'000'000); }, plenty);
    CHECK(usual.tiling.tile == 64);
    CHECK(!usual.memory_short);
    const hcflow::Report reduced = run([] { return Memory(4'000'000'000); }, little);
    CHECK(reduced.tiling.tile == 32);
    CHECK(reduced.memory_short);
    CHECK(little.bytes() == plenty.bytes());  // local arithmetic: every grid gives the same
    CHECK(reduced.disagreement == 0.0F);
    CHECK(run([] { return Memory(100'000'000); }, little).tiles == 0);
    CHECK(run([] { return Memory(); }, little).tiling.tile == 64);  // free memory is unknown
}

TEST_CASE("an overlap below the measured one is told where no comparison tells it") {
    const BundleFolder bundle([](nlohmann::json& m) {
        m["graphs"][0]["tile"] = 64;
        m["graphs"][0]["overlap"] = 8;
    });
    hcflow::Graph graph = hcflow::Bundle::open(bundle.path()).manifest().graphs[0];
    const auto told = [&](hcflow::Precision precision, hcflow::Tiling tiling) {
        graph.precision = precision;
        hcflow::Report report;
        (void)hcflow::make_plan(graph, 4, {}, {132, 132}, {tiling}, &report);
        return report.overlap_short;
    };
    CHECK(told(hcflow::Precision::int8, {64, 0}));
    CHECK(told(hcflow::Precision::int8, {64, 7}));
    CHECK(!told(hcflow::Precision::int8, {64, 8}));
    CHECK(!told(hcflow::Precision::int8, {132, 0}));  // one tile has no border
    CHECK(told(hcflow::Precision::fp32, {64, 0}));
    CHECK(!told(hcflow::Precision::fp32, {64, 7}));  // its neighbours are compared
}

TEST_CASE(
    "a recorded grid is taken if memory is short, with its overlap unless one was asked for") {
    const BundleFolder bundle([](nlohmann::json& m) {
        m["graphs"][0]["tile"] = 64;
        m["graphs"][0]["overlap"] = 2;
        m["graphs"][0]["bytes_per_lr_pixel"] = 1000;
        for (const auto& [tile, overlap] : {std::pair(64, 2), std::pair(40, 2), std::pair(24, 4)})
            m["graphs"][0]["grids"].push_back({{"tile", tile}, {"overlap", overlap}});
    });
    const hcflow::Graph graph = hcflow::Bundle::open(bundle.path()).manifest().graphs[0];
    const auto planned = [&](std::size_t window, hcflow::WantedGrid wanted) {
        const std::size_t bytes = 2000 * window * window + 24 * 16 * 132 * window;
        return hcflow::make_plan(graph, 4, static_cast<double>(bytes), {132, 132}, wanted, nullptr)
            .tiling;
    };
    CHECK(planned(68, {}).tile == 64);
    CHECK(planned(67, {}).tile == 40);
    CHECK(planned(36, {}).tile == 40);
    CHECK(planned(35, {}).tile == 24);
    CHECK(planned(35, {}).overlap == 4);
    CHECK(planned(60, {hcflow::Tiling{70, 6}}).tile == 40);
    CHECK(planned(60, {hcflow::Tiling{70, 6}}).overlap == 6);
    CHECK(has(error_of([&] { (void)planned(28, {}); }), "needs about"));
}
