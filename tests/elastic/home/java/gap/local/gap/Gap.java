package local.gap;

import java.io.IOException;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;
import org.apache.lucene.analysis.TokenFilter;
import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.email.UAX29URLEmailTokenizer;
import org.apache.lucene.analysis.pattern.PatternCaptureGroupTokenFilter;
import org.apache.lucene.analysis.tokenattributes.CharTermAttribute;
import org.elasticsearch.Build;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.cluster.service.ClusterService;
import org.elasticsearch.index.analysis.TokenFilterFactory;
import org.elasticsearch.index.analysis.TokenizerFactory;
import org.elasticsearch.indices.analysis.AnalysisModule.AnalysisProvider;
import org.elasticsearch.plugins.ActionPlugin;
import org.elasticsearch.plugins.AnalysisPlugin;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.rest.BaseRestHandler;
import org.elasticsearch.rest.RestHandler;
import org.elasticsearch.rest.RestRequest;
import org.elasticsearch.rest.RestResponse;
import org.elasticsearch.rest.RestStatus;

/**
 * Stands in for the two small server modules that are not published and that a client or the security index needs:
 * the banner at "/" and the three analysis parts that the security index names.
 */
public abstract class Gap extends Plugin implements ActionPlugin, AnalysisPlugin {
    private volatile ClusterService cluster;

    @Override
    public Collection<?> createComponents(PluginServices services) {
        cluster = services.clusterService();
        return List.of();
    }

    protected Collection<RestHandler> handlers() {
        return List.of(new Banner());
    }

    @Override
    public Map<String, AnalysisProvider<TokenizerFactory>> getTokenizers() {
        return Map.of("uax_url_email", (index, env, name, settings) -> TokenizerFactory.newFactory(name, UAX29URLEmailTokenizer::new));
    }

    @Override
    public Map<String, AnalysisProvider<TokenFilterFactory>> getTokenFilters() {
        return Map.of("pattern_capture", (index, env, name, settings) -> {
            Pattern[] patterns = settings.getAsList("patterns").stream().map(Pattern::compile).toArray(Pattern[]::new);
            boolean keep = settings.getAsBoolean("preserve_original", true);
            return filter(name, in -> new PatternCaptureGroupTokenFilter(in, keep, patterns));
        }, "unique", (index, env, name, settings) -> filter(name, Unique::new));
    }

    private static TokenFilterFactory filter(String name, java.util.function.UnaryOperator<TokenStream> make) {
        return new TokenFilterFactory() {
            @Override
            public String name() { return name; }

            @Override
            public TokenStream create(TokenStream in) { return make.apply(in); }
        };
    }

    /** Drops a token whose text was seen before in the same stream. */
    private static final class Unique extends TokenFilter {
        private final CharTermAttribute term = addAttribute(CharTermAttribute.class);
        private final Set<String> seen = new HashSet<>();

        Unique(TokenStream in) { super(in); }

        @Override
        public boolean incrementToken() throws IOException {
            while (input.incrementToken()) if (seen.add(term.toString())) return true;
            return false;
        }

        @Override
        public void reset() throws IOException {
            super.reset();
            seen.clear();
        }
    }

    private final class Banner extends BaseRestHandler {
        @Override
        public String getName() { return "local_banner"; }

        @Override
        public List<Route> routes() { return List.of(new Route(RestRequest.Method.GET, "/"), new Route(RestRequest.Method.HEAD, "/")); }

        @Override
        protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) {
            return channel -> {
                Build b = Build.current();
                var state = cluster.state();
                var out = channel.newBuilder().prettyPrint().startObject();
                out.field("name", cluster.localNode().getName());
                out.field("cluster_name", state.getClusterName().value());
                out.field("cluster_uuid", state.metadata().clusterUUID());
                out.startObject("version");
                out.field("number", b.qualifiedVersion()).field("build_flavor", b.flavor()).field("build_type", b.type().displayName());
                out.field("build_hash", b.hash()).field("build_date", b.date()).field("build_snapshot", b.isSnapshot());
                out.field("lucene_version", org.apache.lucene.util.Version.LATEST.toString());
                out.field("minimum_wire_compatibility_version", b.minWireCompatVersion());
                out.field("minimum_index_compatibility_version", b.minIndexCompatVersion()).endObject();
                out.field("tagline", "You Know, for Search").endObject();
                channel.sendResponse(new RestResponse(RestStatus.OK, out));
            };
        }
    }
}
