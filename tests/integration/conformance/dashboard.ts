// What the shipped dashboard may hold: Grafana's own types, with each panel's options and fields by the panel's type.
import type {
  AnnotationQuery,
  Dashboard,
  FieldConfigSource,
  Panel,
  RowPanel,
  VariableModel,
} from "./node_modules/@grafana/schema/dist/esm/raw/dashboard/x/dashboard_types.gen";
import type * as bars from "./node_modules/@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen";
import type * as stat from "./node_modules/@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type * as states from "./node_modules/@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen";
import type * as table from "./node_modules/@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type * as series from "./node_modules/@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

/** As JSON has it: enumerations are texts. */
type Plain<T> = T extends string
  ? `${T}`
  : T extends (infer U)[]
    ? Plain<U>[]
    : T extends object
      ? { [K in keyof T]: Plain<T[K]> }
      : T;

type Source = { type: "prometheus"; uid: "${datasource}" };

type Query = {
  refId: string;
  datasource: Source;
  expr: string;
  legendFormat: string;
  instant?: boolean;
  range?: boolean;
  format?: "table";
};

type Of<Type, Options, Custom> = Omit<Panel, "type" | "options" | "fieldConfig" | "targets" | "datasource"> & {
  type: Type;
  datasource: Source;
  targets: Query[];
  options: Options;
  fieldConfig: Omit<FieldConfigSource, "defaults"> & {
    defaults: Omit<FieldConfigSource["defaults"], "custom"> & { custom?: Custom };
  };
};

type Known =
  | RowPanel
  | Of<"bargauge", bars.Options, never>
  | Of<"stat", stat.Options, never>
  | Of<"state-timeline", states.Options, states.FieldConfig>
  | Of<"table", table.Options, table.FieldConfig>
  | Of<"timeseries", series.Options, series.FieldConfig>;

/** The schema leaves what is Prometheus's to its plugin. */
type Annotation = AnnotationQuery & {
  expr?: string;
  step?: string;
  titleFormat?: string;
  textFormat?: string;
  tagKeys?: string;
  useValueForTime?: boolean;
};

export type Shipped = Plain<
  Omit<Dashboard, "panels" | "annotations" | "templating"> & {
    panels: Known[];
    annotations: { list: Annotation[] };
    templating: { list: (VariableModel & { definition?: string })[] };
  }
>;
