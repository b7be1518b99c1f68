"""Register lists in the forms that other tools have, of devices that do not exist."""

TELEGRAF_REGISTER = """
[agent]
  interval = "10s"

[[inputs.modbus]]
  name = "row 4"
  slave_id = 7
  timeout = "1s"
  controller = "tcp://10.20.0.5:502"
  configuration_type = "register"
  discrete_inputs = [
    { name = "door", address = [3] },
  ]
  coils = [
    { name = "pump1_run", address = [12] },
  ]
  holding_registers = [
    { name = "Mains Voltage L1", byte_order = "AB", data_type = "UFIXED", scale = 0.1, address = [100] },
    { name = "heat", byte_order = "ABCD", data_type = "FIXED", scale = 0.01, address = [101, 102] },
    { name = "litres", byte_order = "CDAB", data_type = "FLOAT32", scale = 1.0, address = [103, 104] },
    { name = "total", byte_order = "GHEFCDAB", data_type = "UINT64", scale = 1.0, address = [106, 107, 108, 109] },
    { name = "firmware", byte_order = "BA", data_type = "STRING", address = [120, 121, 122] },
    { name = "swapped", byte_order = "BA", data_type = "INT16", scale = 1.0, address = [130] },
    { name = "gap", byte_order = "ABCD", data_type = "UINT32", scale = 1.0, address = [131, 133] },
    { name = "half", byte_order = "AB", data_type = "FLOAT16-IEEE", scale = 1.0, address = [134] },
    { name = "", byte_order = "AB", data_type = "INT16", scale = 1.0, address = [135] },
    { name = "orderless", data_type = "UINT32", scale = 1.0, address = [136, 137] },
    { name = "nothing", byte_order = "AB", data_type = "INT16", scale = 0.0, address = [138] },
  ]
  input_registers = [
    { name = "flow", byte_order = "BADC", data_type = "FLOAT32-IEEE", scale = 1.0, address = [40, 41] },
    { name = "alarm_level", byte_order = "AB", data_type = "UINT8H", scale = 1.0, address = [50] },
  ]
  [inputs.modbus.tags]
    room = "4"
"""

TELEGRAF_REQUEST = """
[[inputs.modbus]]
  name = "chiller"
  controller = "file:///dev/ttyUSB0"
  baud_rate = 9600
  configuration_type = "request"

  [[inputs.modbus.request]]
    slave_id = 2
    byte_order = "CDAB"
    register = "input"
    fields = [
      { address = 0, name = "supply", type = "INT16", scale = 0.1, output = "FLOAT64" },
      { address = 1, name = "spare", type = "INT16", omit = true },
      { address = 2, name = "compressor hours", type = "UINT32" },
      { address = 4, name = "running", type = "BIT", bit = 5 },
      { address = 5, name = "label", type = "STRING", length = 4 },
      { address = 9, name = "odd", type = "INT8L" },
    ]
    [inputs.modbus.request.tags]
      machine = "chiller 1"

  [[inputs.modbus.request]]
    slave_id = 2
    register = "coil"
    fields = [ { address = 0, name = "remote" }, { address = 1, name = "alarm" } ]

  [[inputs.modbus.request]]
    slave_id = 2
    fields = [ { address = 300, name = "power", type = "FLOAT32" } ]
"""

TELEGRAF_METRIC = """
[[inputs.modbus]]
  name = "two meters"
  controller = "tcp://10.20.0.9:502"
  configuration_type = "metric"

  [[inputs.modbus.metric]]
    slave_id = 1
    byte_order = "ABCD"
    measurement = "meter"
    fields = [
      { register = "holding", address = 0, name = "u", type = "UINT16", scale = 0.1 },
      { register = "discrete", address = 9, name = "open" },
    ]

  [[inputs.modbus.metric]]
    slave_id = 2
    byte_order = "ABCD"
    fields = [ { address = 0, name = "u", type = "UINT16", scale = 0.1 } ]
"""

REGISTER_LIST = """reference,type,name,scale,unit,order,bit,length,note
40011,u16,Voltage L1,0.1,V,,,,
40012,int16,Room,0.1,degC,,,,inlet
12,4:float,Power,,W,CDAB,,,total
30020,u32,Energy,0.01,kWh,ABCD,,,
30022,u32,Orderless,1,,,,,
40030,bool,Pump fault,,,,3,,
40031,bool,Without a bit,,,,,,
40040,string,Type,,,,,8,
5,0,Relay,,,,,,
10006,bool,Door,,,,,,
40050,4:float,Ambiguous,,,ABCD,,,
99,u16,No table,,,,,,
40060,frobnicated,Odd type,,,,,,
40061,u16,Odd unit,1,furlong,,,,
40011,u16,Again,1,,,,,
400100,s32,Six digits,0.001,A,ABCD,,,
"""

SUNSPEC_JSON = """{
  "id": 64999,
  "group": {
    "name": "test_meter", "type": "group",
    "points": [
      {"name": "ID", "type": "uint16", "size": 1, "value": 64999, "static": "S", "mandatory": "M"},
      {"name": "L", "type": "uint16", "size": 1, "static": "S", "mandatory": "M"},
      {"name": "A", "type": "int16", "size": 1, "sf": "A_SF", "units": "A", "label": "Amps"},
      {"name": "A_SF", "type": "sunssf", "size": 1},
      {"name": "W", "type": "int16", "size": 1, "sf": "W_SF", "units": "W"},
      {"name": "W_SF", "type": "sunssf", "size": 1},
      {"name": "PF", "type": "int16", "size": 1, "sf": -1, "units": "Pct"},
      {"name": "TotWhImp", "type": "acc32", "size": 2, "sf": "A_SF", "units": "Wh"},
      {"name": "St", "type": "enum16", "size": 1, "symbols": [
        {"name": "OFF", "value": 1}, {"name": "MPPT", "value": 4}]},
      {"name": "Evt", "type": "bitfield32", "size": 2, "symbols": [
        {"name": "GROUND_FAULT", "value": 0}, {"name": "OVER_TEMP", "value": 17}, {"name": "WRONG", "value": 40}]},
      {"name": "SN", "type": "string", "size": 8},
      {"name": "Tmp", "type": "float32", "size": 2, "units": "C"},
      {"name": "Pad", "type": "pad", "size": 1},
      {"name": "Ip", "type": "ipaddr", "size": 2},
      {"name": "Lost", "type": "int16", "size": 1, "sf": "Nowhere_SF"}
    ],
    "groups": [
      {"name": "phase", "type": "group", "count": 2, "points": [
        {"name": "PhW", "type": "int16", "size": 1, "sf": "W_SF", "units": "W"}]},
      {"name": "string", "type": "group", "count": "N", "points": [
        {"name": "StrA", "type": "uint16", "size": 1}]}
    ]
  }
}
"""

SUNSPEC_SMDX = """<sunSpecModels v="1">
  <!-- 64998: test_inverter -->
  <model id="64998" len="9" name="test_inverter">
    <block len="9">
      <point id="Hz" offset="0" type="uint16" sf="Hz_SF" units="Hz" mandatory="true" />
      <point id="Hz_SF" offset="1" type="sunssf" mandatory="true" />
      <point id="WH" offset="2" type="acc32" units="Wh" />
      <point id="Ver" offset="4" type="string" len="4" />
      <point id="Ctl" offset="8" type="bitfield16"><symbol id="REMOTE">2</symbol></point>
    </block>
    <block len="2" type="repeating">
      <point id="DCA" offset="0" type="uint16" units="A" />
    </block>
  </model>
  <strings id="64998" locale="en"><model><label>Test</label></model></strings>
</sunSpecModels>
"""
